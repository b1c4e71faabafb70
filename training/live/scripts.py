"""The scripts that change the online store. Each is atomic; the layout is that of `training.live.record`.

`APPEND` counts one payment at all its entities, keeps its answer under its request id, and logs it, or does none of it:

    KEYS  answer, stream, entities …
    ARGV  1 answer   2 answer's seconds (0: no request id)   3 retention seconds   4 "1": append in any case
          5 k   6 most entries   7 late seconds   8 time   9 minor units   10 tag   11 entry   12 entries of the stream
          then for each entity how many strictly earlier transactions were read, then fields and values for the stream
    returns  {"answered", the answer kept under this request id}
             {"stale", records …}: another payment that is strictly earlier has been appended since they were read
             {"counted"}

A payment whose tag an entity has is a repetition: nothing changes. An entity is left as it is if a data set was brought
in for the time of the payment: the data set says what happened then.

A fill is what brings a data set in. It has four scripts; all but `BEGIN` refuse (-1) if another fill has begun since.

`BEGIN` makes a fill the one that writes:

    KEYS  filled, fence, progress
    ARGV  1 the newest time of the data set   2 "1": also if a later one was brought in   3 what the fence was
          4 what it is from now on   5 "1": it goes on where one that was killed has come to
    returns  1, 0 if a later data set was brought in, or -1 if the fence is not what it was

`MERGE` brings the data set's part of one entity in:

    KEYS  entity, fence, reach
    ARGV  1 until   2 retention seconds (0: as before)   3 k   4 most entries   5 late seconds   6 size of an entry
          7 days   8 reports   9 entries   10 where in an entry the minor units are   11 their format
          12 the newest time of the data set   13 the fence
    returns  1, 0 if with retention 0 there is no record, or -1

If the record was brought up to a later time than the data set has, that fill was given up, and so is what it wrote. The
greatest `until` of any record is in `reach`.

`ADVANCE` puts on record how far the fill has come: KEYS fence, progress; ARGV the fence, the progress, its seconds.

`FINISH` says that the data set was brought in: KEYS filled, definitions, fence, reach, progress; ARGV its newest time,
the definition's digest and what is known of it, the fence, what it is from now on, until.

Records keep what came as payments at or after `until`. Numbers are doubles in Lua: all are whole and below 2^53.
"""

from training.live.definition import DAY, FORMAT
from training.live.record import DAYS, HEADER, KEPT_DAYS, REPORTS

_SIZES = (FORMAT, DAY, HEADER.size, DAYS.itemsize, REPORTS.itemsize, KEPT_DAYS)
_LAYOUT = (
    f"local FORMAT, DAY, HEADER, DAYROW, REPORT, KEPT = {', '.join(map(str, _SIZES))}"
    + """
local NO_TAG = string.rep('\\0', 8)  -- of an entry that a data set brought
local function cut(value, size)  -- the parts of a record; of none, and of one that is damaged, empty ones
  local empty = {n = 0, till = 0, days = '', reports = '', entries = ''}
  if not value or #value < HEADER or value:byte(1) ~= FORMAT then return empty end
  local _, nd, nr, n, till = struct.unpack('<BHHI4i8', value)
  local d, r = HEADER + nd * DAYROW, HEADER + nd * DAYROW + nr * REPORT
  if r > #value or (#value - r) % size ~= 0 then return empty end
  local one = {n = n, till = till, days = value:sub(HEADER + 1, d)}
  one.reports, one.entries = value:sub(d + 1, r), value:sub(r + 1)
  return one
end
local function write(key, one, keep)
  local sizes = struct.pack('<BHH', FORMAT, #one.days / DAYROW, #one.reports / REPORT)
  local head = sizes .. struct.pack('<I4i8', one.n % 4294967296, one.till)
  local value = head .. one.days .. one.reports .. one.entries
  if keep == '0' then redis.call('SET', key, value, 'KEEPTTL') else redis.call('SET', key, value, 'EX', keep) end
end
local function front(entries, size, time, same)  -- bytes of the entries that are later than `time`, or as late
  local at = 0
  while at < #entries do
    local t = struct.unpack('<i8', entries, at + 1)
    if t < time or (t == time and not same) then break end
    at = at + size
  end
  return at
end
local function trimmed(entries, size, k, most, late)
  if #entries <= k * size then return entries end
  local fresh = front(entries, size, struct.unpack('<i8', entries, 1) - late, true) / size
  return entries:sub(1, math.min(fresh + k, most) * size)
end
local function fresh_days(days)
  if #days <= KEPT * DAYROW then return days end
  return days:sub(1, KEPT * DAYROW)
end
"""
)

APPEND = (
    _LAYOUT
    + """
local with_id = ARGV[2] ~= '0'
if with_id then
  local found = redis.call('GET', KEYS[1])
  if found then return {'answered', found} end
end
local k, most, late = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local time, cents, tag, entry, size = tonumber(ARGV[8]), tonumber(ARGV[9]), ARGV[10], ARGV[11], #ARGV[11]
local day = math.floor(time / DAY)
local told, records, stale, again = 12, {}, false, false
for i = 3, #KEYS do
  local value = redis.call('GET', KEYS[i])
  local one = cut(value, size)
  one.value = value or ''
  one.at = front(one.entries, size, time, true)
  for at = 0, #one.entries - size, size do
    if one.entries:sub(at + 9, at + 16) == tag then again = true end
  end
  one.covered = time < one.till
  if not one.covered and one.n - one.at / size ~= tonumber(ARGV[told + i - 2]) then stale = true end
  records[i] = one
end
if stale and not again and ARGV[4] ~= '1' then
  local answer = {'stale'}
  for i = 3, #KEYS do answer[#answer + 1] = records[i].value end
  return answer
end
for i = 3, #KEYS do
  local one = records[i]
  if not again and not one.covered then
    one.n = one.n + 1
    local at = front(one.entries, size, time, false)
    one.entries = trimmed(one.entries:sub(1, at) .. entry .. one.entries:sub(at + 1), size, k, most, late)
    local row = 0
    while row < #one.days and struct.unpack('<H', one.days, row + 1) > day do row = row + DAYROW end
    local count, sum = 0, 0
    local rest = one.days:sub(row + 1)
    if #rest > 0 and struct.unpack('<H', rest) == day then
      count, sum = struct.unpack('<I4i8', rest, 3)
      rest = rest:sub(DAYROW + 1)
    end
    one.days = fresh_days(one.days:sub(1, row) .. struct.pack('<HI4i8', day, count + 1, sum + cents) .. rest)
    write(KEYS[i], one, ARGV[3])
  end
end
if with_id then redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2]) end
local first = told + #KEYS - 1
if not again and #ARGV >= first then
  local fields = {}
  for i = first, #ARGV do fields[#fields + 1] = ARGV[i] end
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[12], '*', unpack(fields))
end
return {'counted'}
"""
)

MERGE = (
    _LAYOUT
    + """
local till, k, most = tonumber(ARGV[1]), tonumber(ARGV[3]), tonumber(ARGV[4])
local late, size = tonumber(ARGV[5]), tonumber(ARGV[6])
local value = redis.call('GET', KEYS[1])
local old = cut(value, size)
if redis.call('GET', KEYS[2]) ~= ARGV[13] then return -1 end
if ARGV[2] == '0' and not value then return 0 end
if till > tonumber(redis.call('GET', KEYS[3]) or '0') then redis.call('SET', KEYS[3], ARGV[1]) end
local kept = old.entries:sub(1, front(old.entries, size, till, true))
local trimmed_before = #kept == #old.entries and #kept >= k * size
local given_up = old.till > tonumber(ARGV[12]) + 1
if given_up then
  local paid = {}
  for at = 1, #kept, size do
    if kept:sub(at + 8, at + 15) ~= NO_TAG then paid[#paid + 1] = kept:sub(at, at + size - 1) end
  end
  kept = table.concat(paid)
end
local known = given_up and old.till or till  -- the days before are not those of payments
local border = math.floor(known / DAY)
local rows, row, former = {}, 0, {0, 0}
while row < #old.days do
  local day, n, s = struct.unpack('<HI4i8', old.days, row + 1)
  if day == border and known % DAY ~= 0 and trimmed_before and not given_up then former = {n, s} end
  if day < border or (day == border and known % DAY ~= 0) then break end
  rows[#rows + 1] = old.days:sub(row + 1, row + DAYROW)
  row = row + DAYROW
end
local days = ARGV[7]
if known % DAY ~= 0 then  -- both the data set and payments tell of the last day
  local count, sum = 0, 0
  for at = 0, #kept - size, size do
    if math.floor(struct.unpack('<i8', kept, at + 1) / DAY) == border then
      count, sum = count + 1, sum + struct.unpack(ARGV[11], kept, at + ARGV[10] + 1)
    end
  end
  if #days > 0 and struct.unpack('<H', days) == border then
    local n, s = struct.unpack('<I4i8', days, 3)
    count, sum, days = count + n, sum + s, days:sub(DAYROW + 1)
  end
  if former[1] > count then count, sum = former[1], former[2] end  -- more payments than there are entries of
  if count > 0 then days = struct.pack('<HI4i8', border, count, sum) .. days end
end
local entries = trimmed(kept .. ARGV[9], size, k, most, late)
local made = {n = old.n + #ARGV[9] / size + 1, reports = ARGV[8], entries = entries}
made.till = given_up and till or math.max(till, old.till)
made.days = fresh_days(table.concat(rows) .. days)
write(KEYS[1], made, ARGV[2])
return 1
"""
)

BEGIN = """
local filled = tonumber(redis.call('GET', KEYS[1]) or '0')
if filled > tonumber(ARGV[1]) and ARGV[2] ~= '1' then return 0 end
if (redis.call('GET', KEYS[2]) or '') ~= ARGV[3] then return -1 end
redis.call('SET', KEYS[2], ARGV[4])
if ARGV[5] ~= '1' then redis.call('DEL', KEYS[3]) end
return 1
"""

ADVANCE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[3])
return 1
"""

FINISH = """
if redis.call('GET', KEYS[3]) ~= ARGV[4] then return -1 end
redis.call('SET', KEYS[1], ARGV[1])
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
redis.call('SET', KEYS[3], ARGV[5])
redis.call('SET', KEYS[4], ARGV[6])
redis.call('DEL', KEYS[5])
return 1
"""
