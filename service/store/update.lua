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
-- What costs is calls, long strings, and functions that share variables. In the newest tile only the fixed part of a blob
-- moves: it is read and written alone, in the loop at the end, and the length that SETRANGE returns tells whether the
-- blob was whole. All else is `rest`.

local sub, floor, pack, unpack_from, call = string.sub, math.floor, struct.pack, struct.unpack, redis.call

-- Adds the words that move to those in `row`.
local function move(row, moves, amount_word)
  for i = 1, #moves, 2 do
    local word = moves[i]
    local sum = row[word] + moves[i + 1]
    if sum >= 4294967296 then
      sum = sum - 4294967296
      if word == amount_word then
        local high = row[word + 1] + 1
        row[word + 1] = high < 4294967296 and high or 0
      end
    end
    row[word] = sum
  end
end

-- Writes an event `e` of which more moves than the sums: rows, members, streak. Returns false, and leaves the rest to the
-- caller, when the state turns out not to be whole.
local function rest(e)
  local rep, concat, min = string.rep, table.concat, math.min
  local key, head, changed, base, row_form, W = e.key, e.head, e.changed, e.base, e.row_form, e.W
  local rows, members, streak, tile, at = e.rows, e.members, e.streak, e.tile, e.at
  local row_size = 4 * W

  -- The row at `from` of `bytes`, plus the event.
  local function plus(bytes, from)
    local row = {unpack_from(row_form, bytes, from)}
    move(row, e.moves, e.amount_word)
    return pack(row_form, unpack(row, 1, W))
  end

  -- The set of members in `bytes`, plus the event's, and their number; nil when it stays as it is.
  local function plus_member(bytes)
    local member, count = e.member, members
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
      if place > 2 * e.most_members then
        return nil
      end
      count = min(count + 1, e.most_members)
      seen = 2 * count - 1
    end
    for i = seen, place + 2, -2 do
      set[i], set[i + 1] = set[i - 2], set[i - 1]
    end
    set[place], set[place + 1] = member, tile
    return pack('<' .. rep('I4i4', count), unpack(set, 1, 2 * count)), count
  end

  -- The streak in `bytes`, plus a decline or less what an approval ends, and its length; nil when it stays as it is.
  local function plus_streak(bytes)
    local place = 1
    while place <= streak and unpack_from('<i8', bytes, 8 * place - 7) > at do
      place = place + 1
    end
    if e.is_approved then
      if place > streak then
        return nil
      end
      return sub(bytes, 1, 8 * place - 8), place - 1
    end
    if place > e.most_streak then
      return nil
    end
    local count = min(streak + 1, e.most_streak)
    return sub(bytes, 1, 8 * place - 8) .. pack('<i8', at) .. sub(bytes, 8 * place - 7, 8 * count - 8), count
  end

  -- The tiles and rows of `blob` with the event's in its place and without those that no ring keeps, and their number.
  local function plus_rows(blob)
    local given, rings_at = e.given, e.rings_at
    local tiles = {unpack_from('<' .. rep('i4', rows), blob, base + 1)}
    local rows_at = base + 1 + 4 * rows
    local later = rows + 1
    while later > 1 and tiles[later - 1] > tile do
      later = later - 1
    end
    local newest = later <= rows and tiles[rows] or tile

    local rings, per_hop, floors = e.rings, {}, {}
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
    local run = nil -- first of the rows that are kept as they are, one after the other
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
    local present = later > 1 and tiles[later - 1] == tile
    if not present and is_kept(tile) then
      kept_count, part_count = kept_count + 1, part_count + 1
      kept[kept_count] = tile
      -- What was before the next tile that was touched, or everything.
      local from = later <= rows and rows_at + row_size * (later - 1) or 11
      parts[part_count] = sub(blob, from, from + row_size - 1)
    end
    -- What comes late was not there when the later tiles began; from now on it was.
    for i = later, rows do
      local x = tiles[i]
      if is_kept(x) then
        kept_count, part_count = kept_count + 1, part_count + 1
        kept[kept_count] = x
        parts[part_count] = plus(blob, rows_at + row_size * (i - 1))
      end
    end
    return pack('<' .. rep('i4', kept_count), unpack(kept, 1, kept_count)) .. concat(parts), kept_count
  end

  -- The row of the event's tile, if it has one.
  local place = not e.is_lost and rows <= e.own_rows and rows or 0
  while place > 0 do
    local other = unpack_from('<i4', head, base + 4 * place - 3)
    if other <= tile then
      place = other == tile and place or 0
      break
    end
    place = place - 1
  end

  local tail_at = base + rows * (4 + row_size)
  local length = tail_at + 8 * (members + streak)
  local blob, later_rows, tail = nil, nil, nil
  if place > 0 then
    -- It has: the later rows move, and which rows there are does not.
    if place < rows then
      later_rows = call('GETRANGE', key, base + 4 * rows + row_size * place, tail_at - 1)
      if #later_rows ~= row_size * (rows - place) then
        return false
      end
    end
    if e.has_member or e.has_streak then
      tail = members + streak > 0 and call('GETRANGE', key, tail_at, length - 1) or ''
      if #tail ~= 8 * (members + streak) then
        return false
      end
    end
  else
    blob = e.is_lost and head or call('GET', key)
    if #blob ~= length then
      return false
    end
    tail = sub(blob, tail_at + 1)
  end

  local new_tail = false
  if e.has_member or e.has_streak then
    local set, times, shorter = sub(tail, 1, 8 * members), sub(tail, 8 * members + 1), false
    if e.has_member then
      local other, count = plus_member(set)
      if other then
        set, members, new_tail = other, count, true
      end
    end
    if e.has_streak then
      local other, count = plus_streak(times)
      if other then
        shorter = count < streak
        times, streak, new_tail = other, count, true
      end
    end
    tail = set .. times
    if shorter and not blob then
      -- A string in Redis does not shrink in place.
      blob = call('GET', key)
      if #blob ~= length then
        return false
      end
    end
  end

  if blob then
    local body, count = plus_rows(blob)
    call('SET', key, e.mark .. pack('<HBB', count, members, streak) .. changed .. body .. tail, 'EX', e.ttl)
    return true
  end
  -- The time to live was set when the newest tile began, and has a hop to spare.
  if call('SETRANGE', key, '8', pack('<BB', members, streak) .. changed) ~= length then
    return false
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
  return true
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
  local key, given = KEYS[index], ARGV[index - RECORDS + 3]
  local mark, W, ttl, own_rows, most_rows, most_members, most_streak, amount_word, hop, half_life, rings, head_end,
    rings_at = unpack_from('<c6BI4HHBBBddBs', given)
  local row_form = sub('<I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4', 1, 1 + 2 * W)
  local base = 67 + 4 * W
  local position, ends = rings_at + 6 * rings, #given
  while position <= ends do
    local at, code, flags, member, amount, words, from = unpack_from('<dBBI4c8B', given, position)
    local moves = {unpack_from(sub('<BI4BI4BI4BI4BI4BI4BI4BI4BI4BI4BI4BI4BI4BI4BI4BI4', 1, 1 + 3 * words), given, from)}
    moves[2 * words + 1] = nil
    position = from + 5 * words
    local is_attempt, is_approved, tile = flags % 2 == 1, code == 7, floor(at / hop)

    -- Once, and once more when the state turns out not to be whole.
    local is_lost, is_done = false, false
    repeat
      local head = not is_lost and redis.pcall('GETRANGE', key, '0', head_end)
      local rows, members, streak = 0, 0, 0
      if type(head) == 'string' and #head >= base and sub(head, 1, 6) == mark then
        rows, members, streak = unpack_from('<HBB', head, 7)
        is_lost = rows > most_rows or members > most_members or streak > most_streak
          or rows <= own_rows and #head < base + 4 * rows
      else
        is_lost = true
      end
      if is_lost then
        -- What is missing, cut short or of another layout counts as empty.
        head, rows, members, streak = mark .. string.rep('\0', base - 6), 0, 0, 0
      end

      local changed
      local has_member, has_streak = is_attempt and flags >= 4 and most_members > 0, false
      if code == 0 then
        local form = row_form .. 'i8c8c41'
        local all = {unpack_from(form, head, 11)}
        move(all, moves, amount_word)
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
        changed = pack(form, unpack(all, 1, W + 3))
      else
        local form = row_form .. 'c16i8i8Bddd'
        local all = {unpack_from(form, head, 11)}
        move(all, moves, amount_word)
        local last, approved_at, new, decay = all[W + 2], all[W + 3], 1, 1
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
        all[W + 6] = all[W + 6] * decay + (is_approved and new or 0)
        all[W + 7] = all[W + 7] * decay + (code == 6 and new or 0)
        if is_approved then
          if at > approved_at then
            all[W + 3] = at
          end
          has_streak = streak > 0
        else
          has_streak = flags % 4 >= 2 and most_streak > 0 and at > approved_at
        end
        changed = pack(form, unpack(all, 1, W + 7))
      end

      if rows > 0 and rows <= own_rows and not has_member and not has_streak
        and unpack_from('<i4', head, base + 4 * rows - 3) == tile then
        is_done = call('SETRANGE', key, '10', changed) == base + rows * (4 + 4 * W) + 8 * (members + streak)
      else
        is_done = rest({
          key = key, given = given, head = head, changed = changed, is_lost = is_lost, base = base, row_form = row_form,
          W = W, rows = rows, members = members, streak = streak, tile = tile, at = at, moves = moves, member = member,
          has_member = has_member, has_streak = has_streak, is_approved = is_approved, mark = mark, ttl = ttl,
          amount_word = amount_word, own_rows = own_rows, most_members = most_members, most_streak = most_streak,
          rings = rings, rings_at = rings_at,
        })
      end
      is_lost = true
    until is_done
  end
end
return 1
