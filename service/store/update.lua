-- One event, once: added to the state of its entities (the same addition as features/state.py, byte for byte), noted of
-- its processors, moved in the ledger, with its records and its answer. rest.lua, standing.lua and ledger.lua
-- come before this.
--
-- KEYS  answer, ledger and mark, those that are there | records | standings | entities
-- ARGV  1 packed, little endian: flags u8 (1 an answer, 2 a ledger, 4 a mark, 8 all is once), records u16, standings u16
--       2 ms the mark lives
--       of an answer: content, ms it lives | of a ledger: see ledger.lua | of each record: content, ms it lives
--       of each standing: see standing.lua
--       of each entity, packed, little endian:
--       mark c6, words u8 (W), seconds to live u32, most rows of this kind u16, of any u16, members u8, streak u8, first
--       word of the amount u8 (0: none), finest hop f64, half-life f64, rings u8, last byte of head and tiles as digits
--       that end with a zero byte, (finest tiles per hop u32, hops u16) per ring;
--       then per increment: at f64, code i8, flags u8 (1 attempt, 2 declined, 4 has a member, 8 taken back), member u32,
--       amount c8, words u8, (word u8, delta u32) per word that moves
-- Returns {2, answer} when there is an answer, {3, ledger} when a limit is used up: then nothing was written. Else 1 when
-- the event was applied, 0 when it had been before or there is none; with a ledger that was asked, {1 or 0, ledger}. Of an
-- event that had been before, nothing is written where all is once, else all but standings and entities.
--
-- Lua counts in doubles: words of 32 bits are exact in every sum, times up to 2^53 us.
--
-- What costs is calls, long strings, and functions that share variables. In the newest tile only the fixed part of a blob
-- moves: it is read and written alone, in the loop at the end, and the length that SETRANGE returns tells whether the
-- blob was whole. All else is `rest`, in rest.lua.

local flags, RECORDS, STANDINGS = unpack_from('<BHH', ARGV[1])
local has_answer, has_ledger, has_mark, is_once = flags % 2, flags % 4 >= 2 and 1 or 0, flags % 8 >= 4, flags >= 8
local mark_at = has_answer + has_ledger + (has_mark and 1 or 0)
local keys_at, given_at = mark_at, 2 + 2 * has_answer + has_ledger
if #ARGV - given_at - RECORDS ~= #KEYS - keys_at then
  return redis.error_reply('ERR one packed string is expected for each key')
end
-- Whatever refuses comes before whatever writes.
local counted = is_once and call('SET', KEYS[mark_at], '1', 'NX', 'PX', ARGV[2]) and 1 or 0
if is_once and counted == 0 then
  return 0
end
local there = has_answer == 1 and redis.pcall('GET', KEYS[1])
if type(there) == 'string' then
  return {2, there}
end
local ledger, ledger_ttl
if has_ledger == 1 then
  there = redis.pcall('GET', KEYS[1 + has_answer])
  ledger, ledger_ttl = moved_ledger(there, ARGV[given_at])
  if not ledger then
    return {3, type(there) == 'string' and there}
  end
  -- A release leaves no trace where there was nothing.
  if #ledger > 3 or type(there) == 'string' then
    call('SET', KEYS[1 + has_answer], ledger, 'EX', ledger_ttl)
  end
end
if has_answer == 1 then
  call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
end
for index = 1, RECORDS do
  call('SET', KEYS[keys_at + index], ARGV[given_at + 2 * index - 1], 'PX', ARGV[given_at + 2 * index])
end
keys_at, given_at = keys_at + RECORDS, given_at + 2 * RECORDS
if has_mark and not is_once then
  counted = call('SET', KEYS[mark_at], '1', 'NX', 'PX', ARGV[2]) and 1 or 0
end
local reply = has_ledger == 1 and not is_once and {counted, ledger} or counted
if counted == 0 then
  return reply
end
for index = 1, STANDINGS do
  note(KEYS[keys_at + index], ARGV[given_at + index])
end
for index = STANDINGS + 1, #KEYS - keys_at do
  local key, given = KEYS[keys_at + index], ARGV[given_at + index]
  local mark, W, ttl, own_rows, most_rows, most_members, most_streak, amount_word, hop, half_life, rings, head_end,
    rings_at = unpack_from('<c6BI4HHBBBddBs', given)
  local row_form = sub('<I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4I4', 1, 1 + 2 * W)
  local base = 67 + 4 * W
  local position, ends = rings_at + 6 * rings, #given
  while position <= ends do
    local at, code, flags, member, amount, words, from = unpack_from('<dbBI4c8B', given, position)
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

      local length = base + rows * (4 + 4 * W) + 8 * (members + streak)
      local is_held = flags < 8
      if not is_held and not is_lost then
        is_held = holds(key, base, W, rows, length, tile, moves, amount_word)
      end
      if is_held then
        local changed
        local has_member, has_streak = is_attempt and flags % 8 >= 4 and most_members > 0, false
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
        elseif code < 0 then
          local form = row_form .. 'c16i8c9ddd'
          local all = {unpack_from(form, head, 11)}
          move(all, moves, amount_word)
          if at <= all[W + 2] then
            local weight = 2 ^ (-(all[W + 2] - at) / half_life)
            all[W + 5] = less(all[W + 5], code == -7 and weight or 0)
            all[W + 6] = less(all[W + 6], code == -6 and weight or 0)
            all[W + 4] = math.max(less(all[W + 4], weight), all[W + 5] + all[W + 6])
          end
          changed = pack(form, unpack(all, 1, W + 6))
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
          is_done = call('SETRANGE', key, '10', changed) == length
        else
          is_done = rest({
            key = key, given = given, head = head, changed = changed, is_lost = is_lost, base = base, row_form = row_form,
            W = W, rows = rows, members = members, streak = streak, tile = tile, at = at, moves = moves, member = member,
            has_member = has_member, has_streak = has_streak, is_approved = is_approved, mark = mark, ttl = ttl,
            amount_word = amount_word, own_rows = own_rows, most_members = most_members, most_streak = most_streak,
            rings = rings, rings_at = rings_at, is_taken_back = flags >= 8,
          })
        end
      elseif is_held == false then
        -- There is nothing to take it back from.
        if is_lost then
          call('SET', key, head, 'EX', ttl)
        end
        is_done = true
      end
      is_lost = true
    until is_done
  end
end
return reply
