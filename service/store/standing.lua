-- Adds one note to how a processor has been doing: the same sums as service/standing.py, but for rounding.
--
-- `given`, little endian: version u8, scales u8, measures u8, seconds to live u32, at in us f64, month i32, approved minor
-- units f64, a half-life in us f64 per scale, what is added f64 per measure. What cannot be read begins anew.
local function note(key, given)
  local unpack_from = struct.unpack
  local version, scales, measures, ttl, at, month, minor, position = unpack_from('<BBBI4di4d', given)
  local numbers = {unpack_from('<' .. string.rep('d', scales + measures), given, position)}
  local form = '<Bi4di8' .. string.rep('d', scales * measures)
  local blob, all = redis.pcall('GET', key), nil
  if type(blob) == 'string' and #blob == struct.size(form) and string.byte(blob) == version then
    all = {unpack_from(form, blob)}
  else
    all = {version, 0, 0, at}
    for place = 5, 4 + scales * measures do
      all[place] = 0
    end
  end
  local was, later = all[4], math.max(all[4], at)
  local place = 5
  for scale = 1, scales do
    local keep, new = 2 ^ (-(later - was) / numbers[scale]), 2 ^ (-(later - at) / numbers[scale])
    for measure = scales + 1, scales + measures do
      all[place] = all[place] * keep + numbers[measure] * new
      place = place + 1
    end
  end
  all[4] = later
  if month > all[2] then
    all[2], all[3] = month, minor
  elseif month == all[2] then
    all[3] = all[3] + minor
  end
  redis.call('SET', key, struct.pack(form, unpack(all, 1, place - 1)), 'EX', ttl)
end

