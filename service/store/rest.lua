-- An event in the state of one entity, where more moves than the fixed part of its blob: a new tile, a late event, another
-- member, a decline. The same bytes as features/state.py. update.lua, which comes after this, does the common case.

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

-- Whether the tile of an event that is taken back holds it; nil when the state turns out not to be whole.
local function holds(key, base, W, rows, length, tile, moves, amount_word)
  local blob, place = call('GET', key), rows
  if #blob ~= length then
    return nil
  end
  while place > 0 and unpack_from('<i4', blob, base + 4 * place - 3) > tile do
    place = place - 1
  end
  -- The first tile of a hop may stand for the others of it, but for the newest.
  if place == rows and (rows == 0 or unpack_from('<i4', blob, base + 4 * rows - 3) ~= tile) then
    return false
  end
  local rows_at = base + 4 * rows
  for i = 1, #moves, 2 do
    local word, taken = moves[i], 4294967296 - moves[i + 1]
    local is_amount = amount_word > 0 and (word == amount_word or word == amount_word + 1)
    if not is_amount and taken <= 2147483648 then
      local after = unpack_from('<I4', blob, (place < rows and rows_at + 4 * W * place or 10) + 4 * word - 3)
      local before = place > 0 and unpack_from('<I4', blob, rows_at + 4 * W * (place - 1) + 4 * word - 3) or 0
      if (after - before) % 4294967296 < taken then
        return false
      end
    end
  end
  return true
end

-- A decayed sum less a weight; what rounding leaves of nothing is nothing.
local function less(total, weight)
  local left = total - weight
  return left > 1e-9 and left or 0
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
    if not present and not e.is_taken_back and is_kept(tile) then
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

