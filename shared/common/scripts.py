"""What Redis does in one step. Times are its own, so that clocks of replicas need not agree."""

_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

TAKE = (
    _NOW
    + """
-- KEYS: leases, waiting, the account's cool-down, the address's, then the `waiting` of accounts no longer wanted
-- ARGV: leases at once, lease, its life (ms), replica, how long its place in the queue is kept (ms)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
-- A place is `when it came (us) until when it is kept (ms)`: within a millisecond several come.
local since, ahead = time[1] * 1000000 + time[2], 0
local queue = redis.call('HGETALL', KEYS[2])
for i = 1, #queue, 2 do
  if queue[i] == ARGV[4] then since = tonumber(string.match(queue[i + 1], '^%d+')) end
end
for i = 1, #queue, 2 do
  local came, lapses = string.match(queue[i + 1], '^(%d+) (%d+)$')
  if tonumber(lapses) < now then
    redis.call('HDEL', KEYS[2], queue[i])
  elseif queue[i] ~= ARGV[4] and tonumber(came) < since then
    ahead = ahead + 1
  end
end
local granted = redis.call('ZCARD', KEYS[1]) + ahead < tonumber(ARGV[1])
if granted then
  redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[2])
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  redis.call('HDEL', KEYS[2], ARGV[4])
  for i = 5, #KEYS do redis.call('HDEL', KEYS[i], ARGV[4]) end
else
  redis.call('HSET', KEYS[2], ARGV[4], string.format('%.0f %.0f', since, now + ARGV[5]))
  redis.call('PEXPIRE', KEYS[2], ARGV[5])
end
return {
  granted and 1 or 0,
  redis.call('GET', KEYS[3]), redis.call('PTTL', KEYS[3]),
  redis.call('GET', KEYS[4]), redis.call('PTTL', KEYS[4]),
}
"""
)
"""Take a lease, or a place in the queue of replicas, of which the one that came first is served first."""

RELEASE = """
-- KEYS: leases. ARGV: lease, channel, news
if redis.call('ZREM', KEYS[1], ARGV[1]) == 1 then redis.call('PUBLISH', ARGV[2], ARGV[3]) end
"""
"""Give a lease back."""

RENEW = (
    _NOW
    + """
-- KEYS: the leases of an account for each lease. ARGV: life (ms), how many are held (the others are over), leases
for i = 1, #KEYS do
  if i <= tonumber(ARGV[2]) then
    redis.call('ZADD', KEYS[i], now + ARGV[1], ARGV[2 + i])
    redis.call('PEXPIRE', KEYS[i], ARGV[1])
  else
    redis.call('ZREM', KEYS[i], ARGV[2 + i])
  end
end
"""
)
"""Make leases last, also those Redis has lost or never heard of: their outputs are running."""

COOL = """
-- KEYS: cool-down. ARGV: value, its life (ms), channel, news
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('PUBLISH', ARGV[3], ARGV[4])
"""
"""Leave an account alone."""

CLEAR = """
-- KEYS: cool-down. ARGV: channel, news
redis.call('DEL', KEYS[1])
redis.call('PUBLISH', ARGV[1], ARGV[2])
"""
"""Use an account again."""

DELETE_EQUAL = """
-- KEYS: a value. ARGV: what it must be
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
"""
"""Delete a value unless it has changed."""

EXTEND = """
-- KEYS: values. ARGV: life (ms), what each must be
for i = 1, #KEYS do
  local held = redis.call('GET', KEYS[i])
  if held == ARGV[1 + i] or not held then redis.call('SET', KEYS[i], ARGV[1 + i], 'PX', ARGV[1]) end
end
"""
"""Make values last, also those Redis has lost, but for those that have changed."""

STORE = """
-- KEYS: values. ARGV: for each its time, the value, its life (ms; 0: for ever)
for i = 1, #KEYS do
  local time, value, life = ARGV[3 * i - 2], ARGV[3 * i - 1], tonumber(ARGV[3 * i])
  local kept = redis.call('GET', KEYS[i])
  if not kept or tonumber(string.match(kept, '^%d+') or 0) <= tonumber(time) then
    if life == 0 then
      redis.call('SET', KEYS[i], time .. ' ' .. value)
    else
      redis.call('SET', KEYS[i], time .. ' ' .. value, 'PX', life)
    end
  end
end
"""
"""Keep values, but for those of which there is a newer one."""

FETCH = """
-- KEYS: a value
return { redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1]) }
"""
"""Give a value with its time, and its life (ms; negative: for ever)."""

FORGET = """
-- KEYS: a value. ARGV: what it must be
local kept = redis.call('GET', KEYS[1])
if kept and string.sub(kept, (string.find(kept, ' ') or 0) + 1) == ARGV[1] then redis.call('DEL', KEYS[1]) end
"""
"""Delete a value, whatever its time, unless it has changed."""
