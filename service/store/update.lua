-- Applies one event to the state of its entities, once: the same addition as features/state.py, byte for byte.
--
-- KEYS  1 mark of the event | R keys of the decision record | one key per entity
-- ARGV  1 ms the mark lives | 2 R | 3 ms the record lives | 4 record | one packed string per entity, little endian:
--       mark c6, words u8 (W), seconds to live u32, most rows of this kind u16, of any u16, members u8, streak u8, first
--       word of the amount u8 (0: none), finest hop f64, half-life f64, rings u8, last byte of head and tiles as digits
--       that end with a zero byte, (finest tiles per hop u32, hops u16) per ring;
--       then per increment: at f64, code u8, flags u8 (1 attempt, 2 declined, 4 has a member), member u32,
--       amount c8, words u8, (word u8, delta u32) per word that moves
-- Returns 1 when the event was applied, 0 when it had been before (then only the record is written).
--
-- Lua counts in doubles: words of 32 bits are exact in every sum, times up to 2^53 us.
--
-- What costs is calls and long strings. In the newest tile only the fixed part of a blob moves: it is read and written
-- alone, and the length that SETRANGE returns tells whether the blob was whole.

local sub, rep, floor = string.sub, string.rep, math.floor
local pack, unpack_from, concat = struct.pack, struct.unpack, table.concat
local call = redis.call

local WORD = 4294967296
local APPROVED, TECHNICAL = 7, 6
local MOVES = '<BI4BI4BI4BI4BI4BI4BI4BI4BI4BI4BI4BI4BI4BI4BI4BI4'
local FORMS = '<I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4'

-- The kind at hand.
local mark, W, ttl, own_rows, most_rows, most_members, most_streak, amount_word, hop, half_life, rings
local head_end, rings_at
local row_form, row_size, base

-- The event at hand: `moves` holds word, delta, word, delta...
local at, code, is_attempt, is_declined, member, amount, moves

local function read_kind(given)
  mark, W, ttl, own_rows, most_rows, most_members, most_streak, amount_word, hop, half_life, rings,
    head_end, rings_at = unpack_from('<c6BI4HHBBBddBs', given)
  row_form, row_size = sub(FORMS, 1, 1 + 2 * W), 4 * W
  base = 67 + row_size
end

local function read_event(given, position)
  local flags, words
  at, code, flags, member, amount, words, position = unpack_from('<dBBI4c8B', given, position)
  is_attempt, is_declined = flags % 2 == 1, flags % 4 >= 2
  if flags < 4 then
    member = nil
  end
  moves = {unpack_from(sub(MOVES, 1, 1 + 3 * words), given, position)}
  moves[2 * words + 1] = nil
  return position + 5 * words
end

-- Adds the event to the W words in `row`.
local function move(row)
  for i = 1, #moves, 2 do
    local word = moves[i]
    local sum = row[word] + moves[i + 1]
    if sum >= WORD then
      sum = sum - WORD
      if word == amount_word then
        local high = row[word + 1] + 1
        row[word + 1] = high < WORD and high or 0
      end
    end
    row[word] = sum
  end
end

-- The row of W words at `from` of `bytes`, plus the event.
local function plus(bytes, from)
  local row = {unpack_from(row_form, bytes, from)}
  move(row)
  return pack(row_form, unpack(row, 1, W))
end

-- What a blob has between its counts and its tiles, plus an event that is no result.
local function plus_attempt(head)
  local form = row_form .. 'i8c8c41'
  local all = {unpack_from(form, head, 11)}
  move(all)
  if is_attempt then
    local last = all[W + 1]
    if at > last then
      all[W + 1], all[W + 2] = at, amount
    elseif at == last then
      local low, high = unpack_from('<I4I4', all[W + 2])
      local new_low, new_high = unpack_from('<I4I4', amount)
      if new_high > high or new_high == high and new_low > low then
        all[W + 2] = amount
      end
    end
  end
  return pack(form, unpack(all, 1, W + 3))
end

-- The same for a result; and the time of the last approval before it.
local function plus_result(head)
  local form = row_form .. 'c16i8i8Bddd'
  local all = {unpack_from(form, head, 11)}
  move(all)
  local last, approved_at = all[W + 2], all[W + 3]
  local new, decay = 1, 1
  if at >= last then
    decay = 2 ^ (-(at - last) / half_life)
    if at > last then
      all[W + 2], all[W + 4] = at, code
    elseif code > all[W + 4] then
      all[W + 4] = code
    end
  else
    new = 2 ^ (-(last - at) / half_life)
  end
  all[W + 5] = all[W + 5] * decay + new
  all[W + 6] = all[W + 6] * decay + (code == APPROVED and new or 0)
  all[W + 7] = all[W + 7] * decay + (code == TECHNICAL and new or 0)
  if code == APPROVED and at > approved_at then
    all[W + 3] = at
  end
  return pack(form, unpack(all, 1, W + 7)), approved_at
end

-- The set of `count` members in `bytes`, plus the event's; nil when it stays as it is.
local function plus_member(bytes, count, tile)
  local set, seen = {unpack_from('<' .. rep('I4i4', count), bytes)}, nil
  for i = 1, 2 * count, 2 do
    if set[i] == member then
      if set[i + 1] >= tile then
        return nil
      end
      seen = i
      break
    end
  end
  local place = 1
  while place < 2 * count and (set[place + 1] > tile or set[place + 1] == tile and set[place] > member) do
    place = place + 2
  end
  if not seen then
    if place > 2 * most_members then
      return nil
    end
    count = math.min(count + 1, most_members)
    seen = 2 * count - 1
  end
  for i = seen, place + 2, -2 do
    set[i], set[i + 1] = set[i - 2], set[i - 1]
  end
  set[place], set[place + 1] = member, tile
  return pack('<' .. rep('I4i4', count), unpack(set, 1, 2 * count)), count
end

-- The streak of `count` declines in `bytes`, plus the event; nil when it stays as it is.
local function plus_streak(bytes, count)
  local times = {unpack_from('<' .. rep('i8', count), bytes)}
  local kept = count
  if code == APPROVED then
    while kept > 0 and times[kept] <= at do
      kept = kept - 1
    end
    if kept == count then
      return nil
    end
  else
    local place = count + 1
    while place > 1 and times[place - 1] < at do
      place = place - 1
    end
    if place > most_streak then
      return nil
    end
    kept = math.min(count + 1, most_streak)
    for i = kept, place + 1, -1 do
      times[i] = times[i - 1]
    end
    times[place] = at
  end
  return pack('<' .. rep('i8', kept), unpack(times, 1, kept)), kept
end

-- The `count` tiles and rows of `blob` with the event's in its place, without those that no ring keeps.
local function plus_rows(blob, count, tile, given)
  local tiles = {unpack_from('<' .. rep('i4', count), blob, base + 1)}
  local rows_at = base + 1 + 4 * count
  local later = count + 1
  while later > 1 and tiles[later - 1] > tile do
    later = later - 1
  end
  local newest = later <= count and tiles[count] or tile
  local present = later > 1 and tiles[later - 1] == tile

  local per_hop, floors = {}, {}
  for ring = 1, rings do
    local tiles_per_hop, hops = unpack_from('<I4H', given, rings_at + 6 * (ring - 1))
    per_hop[ring], floors[ring] = tiles_per_hop, (floor(newest / tiles_per_hop) - hops) * tiles_per_hop
  end
  local finest, previous = floors[1], nil
  local function is_kept(x)
    local before = previous
    previous = x
    if x >= finest then
      return true
    end
    for ring = 2, rings do
      local q = per_hop[ring]
      if x >= floors[ring] and (not before or floor(before / q) ~= floor(x / q)) then
        return true
      end
    end
    return false
  end

  local kept, parts, kept_count, part_count = {}, {}, 0, 0
  local run = nil -- first row of those that are kept as they are, one after the other
  for i = 1, later - 1 do
    local x = tiles[i]
    if is_kept(x) then
      kept_count = kept_count + 1
      kept[kept_count] = x
      run = run or i
    elseif run then
      part_count = part_count + 1
      parts[part_count] = sub(blob, rows_at + row_size * (run - 1), rows_at + row_size * (i - 1) - 1)
      run = nil
    end
  end
  if run then
    part_count = part_count + 1
    parts[part_count] = sub(blob, rows_at + row_size * (run - 1), rows_at + row_size * (later - 1) - 1)
  end
  if not present and is_kept(tile) then
    kept_count, part_count = kept_count + 1, part_count + 1
    kept[kept_count] = tile
    -- What was before the next tile that was touched, or everything.
    local from = later <= count and rows_at + row_size * (later - 1) or 11
    parts[part_count] = sub(blob, from, from + row_size - 1)
  end
  -- What comes late was not there when the later tiles began; from now on it was.
  for i = later, count do
    local x = tiles[i]
    if is_kept(x) then
      kept_count, part_count = kept_count + 1, part_count + 1
      kept[kept_count] = x
      parts[part_count] = plus(blob, rows_at + row_size * (i - 1))
    end
  end
  return pack('<' .. rep('i4', kept_count), unpack(kept, 1, kept_count)) .. concat(parts), kept_count
end

-- Adds the event at hand to the state at `key`; `lost` when what lies there cannot be read.
local function add(key, given, lost)
  local head = not lost and redis.pcall('GETRANGE', key, '0', head_end)
  local rows, members, streak, length = 0, 0, 0, 0
  if type(head) == 'string' and #head >= base and sub(head, 1, 6) == mark then
    rows, members, streak = unpack_from('<HBB', head, 7)
    lost = rows > most_rows or members > most_members or streak > most_streak
      or rows <= own_rows and #head < base + 4 * rows
    length = base + rows * (4 + row_size) + 8 * (members + streak)
  else
    lost = true
  end
  if lost then
    -- What is missing, cut short or of another layout counts as empty.
    head, rows, members, streak, length = mark .. rep('\0', base - 6), 0, 0, 0, base
  end

  local tile = floor(at / hop)
  local changed, approved_at = (code == 0 and plus_attempt or plus_result)(head)
  local place, blob, later_rows = nil, nil, nil
  if rows > 0 and rows <= own_rows then
    local newest = unpack_from('<i4', head, base + 4 * rows - 3)
    if tile == newest then
      place = rows
    elseif tile < newest then
      place = rows - 1
      while place > 0 do
        local other = unpack_from('<i4', head, base + 4 * place - 3)
        if other <= tile then
          place = other == tile and place or nil
          break
        end
        place = place - 1
      end
      if place == 0 then
        place = nil
      end
    end
  end

  local tail_at = base + rows * (4 + row_size)
  local has_member = is_attempt and member and most_members > 0
  local has_streak = code == APPROVED and streak > 0 or is_declined and most_streak > 0 and at > approved_at
  local tail, old_streak = nil, streak
  if place then
    -- The event falls into a tile that has its row: the later rows move, and which rows there are does not.
    if place < rows then
      later_rows = call('GETRANGE', key, base + 4 * rows + row_size * place, tail_at - 1)
      if #later_rows ~= row_size * (rows - place) then
        return add(key, given, true)
      end
    end
    if has_member or has_streak then
      tail = members + streak > 0 and call('GETRANGE', key, tail_at, length - 1) or ''
      if #tail ~= 8 * (members + streak) then
        return add(key, given, true)
      end
    end
  else
    blob = lost and head or call('GET', key)
    if #blob ~= length then
      return add(key, given, true)
    end
    tail = sub(blob, tail_at + 1)
  end

  local new_tail = false
  if has_member or has_streak then
    local set, times = sub(tail, 1, 8 * members), sub(tail, 8 * members + 1)
    if has_member then
      local other, count = plus_member(set, members, tile)
      if other then
        set, members, new_tail = other, count, true
      end
    end
    if has_streak then
      local other, count = plus_streak(times, streak)
      if other then
        times, streak, new_tail = other, count, true
      end
    end
    tail = set .. times
    if streak < old_streak and place then
      -- A string in Redis does not shrink in place.
      blob = call('GET', key)
      if #blob ~= length then
        return add(key, given, true)
      end
    end
  end

  if not blob then
    local written
    if new_tail then
      written = call('SETRANGE', key, '8', pack('<BB', members, streak) .. changed)
    else
      written = call('SETRANGE', key, '10', changed)
    end
    if written ~= length then
      return add(key, given, true)
    end
    if later_rows then
      local moved = {}
      for i = 1, rows - place do
        moved[i] = plus(later_rows, row_size * (i - 1) + 1)
      end
      call('SETRANGE', key, base + 4 * rows + row_size * place, concat(moved))
    end
    if new_tail then
      call('SETRANGE', key, tail_at, tail)
    end
    -- The time to live was set when the newest tile began, and has a hop to spare.
    return
  end
  local body, kept = plus_rows(blob, rows, tile, given)
  call('SET', key, mark .. pack('<HBB', kept, members, streak) .. changed .. body .. tail, 'EX', ttl)
end

local RECORDS = tonumber(ARGV[2])
if #ARGV ~= #KEYS - 1 - RECORDS + 4 then
  return redis.error_reply('ERR one packed string is expected for each entity')
end
for index = 2, RECORDS + 1 do
  call('SET', KEYS[index], ARGV[4], 'PX', ARGV[3])
end
if not call('SET', KEYS[1], '1', 'NX', 'PX', ARGV[1]) then
  return 0
end
for index = RECORDS + 2, #KEYS do
  local given = ARGV[index - RECORDS + 3]
  read_kind(given)
  local position = rings_at + 6 * rings
  while position <= #given do
    position = read_event(given, position)
    add(KEYS[index], given)
  end
end
return 1
