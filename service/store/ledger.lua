-- One move in a ledger of attempts: the same as service/ledger.py, byte for byte.
--
-- `blob` is the ledger, or anything else when there is none. `given`, little endian: version u8, most entries u16, us that
-- an entry is remembered f64, seconds to live u32, move u8 (1 reserve, 2 settle, 3 release); the entry: at i64, attempt u64,
-- amount u64, status u8; then per limit: window in us f64, most f64, flags u8 (1 of one amount, 2 since an approval),
-- amount f64.
-- Returns the ledger after it, nil when a limit is used up; and its seconds to live.
local function moved_ledger(blob, given)
  local unpack_from, sub = struct.unpack, string.sub
  local version, most, kept, ttl, what, at, attempt, amount, status, limits = unpack_from('<BHdI4Bi8I8I8B', given)
  -- Of each entry: at, attempt, amount, status.
  local count, all, body = 0, {}, ''
  if type(blob) == 'string' and #blob >= 3 then
    local its_version, its_count = unpack_from('<BH', blob)
    if its_version == version and its_count <= most and #blob == 3 + 25 * its_count then
      count, body = its_count, sub(blob, 4)
      all = {unpack_from('<' .. string.rep('i8I8I8B', count), body)}
    end
  end

  for position = limits, #given, 25 do
    local window, limit, flags, limit_amount = unpack_from('<ddBd', given, position)
    local oldest, used = at - window, 0
    local start = oldest
    if flags >= 2 then
      for i = 1, 4 * count, 4 do
        local other = all[i]
        if all[i + 3] == 3 and other > start and other <= at and all[i + 1] ~= attempt then
          start = other
        end
      end
    end
    for i = 1, 4 * count, 4 do
      -- No approval resets a reservation (1), which may have been sent after it.
      local after = all[i + 3] == 1 and oldest or start
      if all[i + 3] ~= 3 and all[i] > after and all[i + 1] ~= attempt
        and (flags % 2 == 0 or all[i + 2] == limit_amount) then
        used = used + 1
      end
    end
    if used >= limit then
      return nil
    end
  end

  local own = count
  while own > 0 and all[4 * own - 2] ~= attempt do
    own = own - 1
  end
  local is_settled = own > 0 and all[4 * own] ~= 1
  if what == 2 or not is_settled then
    if own > 0 then
      body = sub(body, 1, 25 * own - 25) .. sub(body, 25 * own + 1)
      for _ = 1, 4 do
        table.remove(all, 4 * own - 3)
      end
      count = count - 1
    end
    if what ~= 3 then
      local place = count
      while place > 0 and (all[4 * place - 3] > at or all[4 * place - 3] == at and all[4 * place - 2] > attempt) do
        place = place - 1
      end
      body = sub(body, 1, 25 * place) .. sub(given, limits - 25, limits - 1) .. sub(body, 25 * place + 1)
      for field, value in ipairs({at, attempt, amount, status}) do
        table.insert(all, 4 * place + field, value)
      end
      count = count + 1
    end
  end

  -- What is forgotten: the old, then one more than there is room for.
  local old, oldest = 0, count > 0 and all[4 * count - 3] - kept
  while old < count and all[4 * old + 1] <= oldest do
    old = old + 1
  end
  body = sub(body, 25 * old + 1)
  if count - old > most then
    local one = old + 1
    while one <= count and all[4 * one] ~= 3 do
      one = one + 1
    end
    one = one <= count and one - old or 1
    body = sub(body, 1, 25 * one - 25) .. sub(body, 25 * one + 1)
  end
  return struct.pack('<BH', version, #body / 25) .. body, ttl
end

