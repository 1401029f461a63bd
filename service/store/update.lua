-- Applies one event to the state of its entities, once: the same addition as features/state.py, byte for byte.
--
-- KEYS  1 mark of the event | R keys of the decision record | one key per entity
-- ARGV  1 ms the mark lives | 2 measures in a row (M) | 3 R | 4 ms the record lives | 5 record | one packed string per
--       entity: seconds to live u32, rings u8, the six bytes every blob of this layout begins with, (hop f64, tiles u16)
--       per ring from the finest, then (at i64, is_attempt u8, deltas i64 * M) per increment, all little endian
-- Returns 1 when the event was applied, 0 when it had been before (then only the record is written).
--
-- Lua counts in doubles. Times are exact up to 2^53 us; where a sum reaches 2^53 it is added
-- as two halves of 32 bits: exact for all of i64.

local sub, floor = string.sub, math.floor
local pack, unpack_from = struct.pack, struct.unpack
local call = redis.call

local M = tonumber(ARGV[2])
local RECORDS = tonumber(ARGV[3])
local ROW = '<' .. string.rep('i8', M)
local HALVES = '<' .. string.rep('I4i4', M)
local ROW_SIZE = 8 * M
local EXACT = 9007199254740992
local CARRY = 4294967296

-- The increment at hand: its deltas as numbers and as bytes.
local delta, delta_bytes

-- The row of M sums at `from` of `bytes`, plus the increment, where a double is not exact any more.
local function plus_halves(bytes, from)
  local row, add = {unpack_from(HALVES, bytes, from)}, {unpack_from(HALVES, delta_bytes)}
  for i = 1, 2 * M, 2 do
    local low, high = row[i] + add[i], row[i + 1] + add[i + 1]
    if low >= CARRY then
      low, high = low - CARRY, high + 1
    end
    row[i], row[i + 1] = low, high
  end
  return pack(HALVES, unpack(row, 1, 2 * M))
end

-- The row of M sums at `from` of `bytes`, plus the increment.
local function plus(bytes, from)
  local row = {unpack_from(ROW, bytes, from)}
  for i = 1, M do
    local sum = row[i] + delta[i]
    if sum >= EXACT or sum < 0 then
      return plus_halves(bytes, from)
    end
    row[i] = sum
  end
  return pack(ROW, unpack(row, 1, M))
end

-- Puts an increment of `tile` into the ring of `count` rows at `from` of `body`; returns tiles, rows and their number.
local function insert(body, from, count, tile, newest, keep, totals)
  local rows = from + 4 * count
  local function tile_of(index)
    return (unpack_from('<i4', body, from + 4 * index - 4))
  end
  local function row_of(index)
    return rows + ROW_SIZE * (index - 1)
  end

  local oldest = math.max(tile, newest or tile) - keep + 1
  local before, present = count, false
  while before > 0 do
    local other = tile_of(before)
    if other < tile then
      break
    end
    present = other == tile
    before = before - 1
  end
  local drop = 0
  while drop < count and tile_of(drop + 1) < oldest do
    drop = drop + 1
  end

  local new_tile, new_row, added = '', '', 0
  if tile >= oldest and not present then
    added = 1
    new_tile = pack('<i4', tile)
    new_row = before < count and sub(body, row_of(before + 1), row_of(before + 2) - 1) or totals
  end
  -- What comes late was not there when the later tiles began; from now on it was.
  local same = math.max(before + (present and 1 or 0), drop)
  local split = math.max(before, drop)
  local parts = {
    sub(body, row_of(drop + 1), row_of(before + 1) - 1),
    new_row,
    sub(body, row_of(split + 1), row_of(same + 1) - 1),
  }
  for index = same + 1, count do
    parts[#parts + 1] = plus(body, row_of(index))
  end
  local tiles = sub(body, from + 4 * drop, from + 4 * before - 1) .. new_tile .. sub(body, from + 4 * split, rows - 1)
  return tiles, table.concat(parts), count - drop + added
end

-- Puts the increment of time `at` into every ring of `body`, whose rings begin at `from`; returns the rings anew.
local function insert_all(body, from, counts, outline, at, totals)
  local parts = {}
  for ring = 1, outline[2] do
    local count, tile = counts[ring], floor(at / outline[2 + 2 * ring])
    local ends = from + (4 + ROW_SIZE) * count
    local newest = count > 0 and unpack_from('<i4', body, from + 4 * count - 4)
    if tile == newest then
      parts[#parts + 1] = sub(body, from, ends - 1)
    else
      local tiles, rows
      tiles, rows, counts[ring] = insert(body, from, count, tile, newest, outline[3 + 2 * ring], totals)
      parts[#parts + 1] = tiles
      parts[#parts + 1] = rows
    end
    from = ends
  end
  return table.concat(parts)
end

-- Adds the packed increments in `given` from `position` on to the state at `key`.
local function update(key, given, position, outline)
  local ttl, rings, mark, hop = outline[1], outline[2], outline[3], outline[4]
  local base = 14 + 2 * rings + ROW_SIZE

  -- Long strings are what costs (5 us for 4 kB): head, totals and the tiles of the finest ring will mostly do.
  local head = redis.pcall('GETRANGE', key, '0', base + 4 * outline[5] - 1)
  local counts, length
  if type(head) == 'string' and #head >= base and sub(head, 1, 6) == mark then
    counts, length = {unpack_from('<HHHHHHHH', head, 7)}, base
    for ring = 1, rings do
      length = length + counts[ring] * (4 + ROW_SIZE)
    end
  end
  local changed = not counts or call('STRLEN', key) ~= length
  local totals, last, newest, body, origin
  if changed then
    -- What is missing, cut short or of another layout counts as empty.
    totals, last, body, origin, counts = string.rep('\0', ROW_SIZE), 0, '', 1, {}
    for ring = 1, rings do
      counts[ring] = 0
    end
  else
    totals = sub(head, base - 7 - ROW_SIZE, base - 8)
    last = unpack_from('<i8', head, base - 7)
    local tip = base + 4 * counts[1]
    newest = counts[1] > 0 and tip <= #head and unpack_from('<i4', head, tip - 3)
  end

  while position < #given do
    local bytes = sub(given, position + 9, position + 8 + ROW_SIZE)
    if bytes ~= delta_bytes then
      delta, delta_bytes = {unpack_from(ROW, bytes)}, bytes
    end
    local at, is_attempt = unpack_from('<i8B', given, position)
    position = position + 9 + ROW_SIZE

    -- In the newest tile the row holds what was before it, and only the totals move. Hops are whole multiples of each
    -- other: what falls into the newest tile of the finest ring does so in every ring.
    local tile = floor(at / hop)
    if tile ~= newest then
      if not changed then
        body, origin, changed = call('GET', key), base + 1, true
      end
      body, origin = insert_all(body, origin, counts, outline, at, totals), 1
      newest = math.max(tile, newest or tile)
    end
    totals = plus(totals, 1)
    if is_attempt == 1 and at > last then
      last = at
    end
  end

  local sums = totals .. pack('<i8', last)
  if changed then
    call('SET', key, mark .. pack('<' .. string.rep('H', rings), unpack(counts, 1, rings)) .. sums .. body, 'EX', ttl)
  else
    -- Keeps the time to live, which was set when this tile began and has a hop to spare.
    call('SETRANGE', key, 6 + 2 * rings, sums)
  end
end

if #ARGV ~= #KEYS - 1 - RECORDS + 5 then
  return redis.error_reply('ERR one packed string is expected for each entity')
end
for index = 2, RECORDS + 1 do
  call('SET', KEYS[index], ARGV[5], 'PX', ARGV[4])
end
if not call('SET', KEYS[1], '1', 'NX', 'PX', ARGV[1]) then
  return 0
end
for index = RECORDS + 2, #KEYS do
  local given = ARGV[index - RECORDS + 4]
  local rings = string.byte(given, 5)
  update(KEYS[index], given, 12 + 10 * rings, {unpack_from('<I4Bc6' .. string.rep('dH', rings), given)})
end
return 1
