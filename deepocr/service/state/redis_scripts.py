"""Lua scripts that Redis runs atomically. All keys begin with PREFIX.

task:ID            hash: record, lane, pages, missing, sent, state, started_s, finished_s, error
task:ID:settled    hash: page number -> status
task:ID:reader     hash: page number -> the worker that has taken it
task:ID:suspected  hash: page number -> strikes, together, reason (JSON)
task:ID:live       hash: page number -> text so far
waiting:LANE       sorted set of PENDING tasks by order of arrival
unfinished, expiry sorted sets of tasks by arrival and by end of life
unsent             sorted set of tasks with pages that were never sent to the queue
client:C           set of a client's unfinished tasks
owner:O            sorted set of an owner's tasks by arrival
key:O:K            a task by idempotency key
hand:W, begun:W    sets: the pages (ID:NUMBER) that a worker has taken, that it has begun
readers            set: workers that have taken some
webhooks           sorted set of tasks by when their webhook is due; webhooks:tries hash
changed            channel that announces a task's changes
"""

PREFIX = "deepocr:2:"

# KEYS[1] is the prefix; ARGV as named. Every script checks and changes atomically.
_CREATE = """
local p, id, owner, client, key = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if key ~= '' then
  local earlier = redis.call('GET', p .. 'key:' .. owner .. ':' .. key)
  if earlier then
    local record = redis.call('HGET', p .. 'task:' .. earlier, 'record')
    if record then return record end
  end
end
if redis.call('SCARD', p .. 'client:' .. client) >= tonumber(ARGV[5]) then return 'CLIENT' end
if redis.call('ZCARD', p .. 'unfinished') >= tonumber(ARGV[6]) then return 'FULL' end
local of_client = tonumber(redis.call('HGET', p .. 'kept', client) or 0)
local of_all = tonumber(redis.call('GET', p .. 'kept:all') or 0)
if of_client + ARGV[12] > tonumber(ARGV[13]) then return 'CLIENT BYTES' end
if of_all + ARGV[12] > tonumber(ARGV[14]) then return 'BYTES' end
redis.call('HINCRBY', p .. 'kept', client, ARGV[12])
redis.call('INCRBY', p .. 'kept:all', ARGV[12])
local seq = redis.call('INCR', p .. 'seq')
redis.call('HSET', p .. 'task:' .. id, 'record', ARGV[7], 'lane', ARGV[8], 'state', 'PENDING',
  'client', client, 'owner', owner, 'key', key, 'pages', ARGV[10],
  'missing', ARGV[10], 'sent', 0, 'webhook', ARGV[11], 'bytes', ARGV[12])
redis.call('SADD', p .. 'client:' .. client, id)
for _, set in ipairs({'unfinished', 'unsent', 'waiting:' .. ARGV[8], 'owner:' .. owner}) do
  redis.call('ZADD', p .. set, seq, id)
end
redis.call('ZADD', p .. 'expiry', ARGV[9], id)
if key ~= '' then redis.call('SET', p .. 'key:' .. owner .. ':' .. key, id) end
return 'NEW'
"""

_OPEN_TASK = """
local p, id, number = KEYS[1], ARGV[1], ARGV[2]
local task = p .. 'task:' .. id
local state = redis.call('HGET', task, 'state')
if state ~= 'PENDING' and state ~= 'STARTED' then return nil end
"""

_OPEN_PAGE = f"""{_OPEN_TASK}
if redis.call('HEXISTS', task .. ':settled', number) == 1 then return nil end
"""

_TAKE_UNSENT = f"""{_OPEN_TASK}
local sent, pages = tonumber(redis.call('HGET', task, 'sent')), redis.call('HGET', task, 'pages')
if sent + ARGV[2] >= tonumber(pages) then redis.call('ZREM', p .. 'unsent', id) end
if sent >= tonumber(pages) then return nil end
redis.call('HINCRBY', task, 'sent', ARGV[2])
return sent
"""

_TAKE = """
redis.call('HSET', task .. ':reader', number, ARGV[3])
redis.call('SADD', p .. 'hand:' .. ARGV[3], id .. ':' .. number)
redis.call('SADD', p .. 'readers', ARGV[3])
"""

_TAKE_PAGE = f"""{_OPEN_PAGE}{_TAKE}
return redis.call('HGET', task .. ':suspected', number) or ''
"""

_BEGIN = f"""{_OPEN_PAGE}{_TAKE}
if state == 'PENDING' then
  redis.call('HSET', task, 'state', 'STARTED', 'started_s', ARGV[4])
  redis.call('ZREM', p .. 'waiting:' .. redis.call('HGET', task, 'lane'), id)
  redis.call('PUBLISH', p .. 'changed', id)
end
redis.call('HDEL', task .. ':live', number)
redis.call('SADD', p .. 'begun:' .. ARGV[3], id .. ':' .. number)
return 1
"""

_SETTLE = f"""{_OPEN_PAGE}
redis.call('HSET', task .. ':settled', number, ARGV[3])
redis.call('HDEL', task .. ':live', number)
local reader = redis.call('HGET', task .. ':reader', number)
if reader then
  redis.call('HDEL', task .. ':reader', number)
  redis.call('SREM', p .. 'hand:' .. reader, id .. ':' .. number)
  redis.call('SREM', p .. 'begun:' .. reader, id .. ':' .. number)
end
for i = 4, #ARGV, 2 do
  redis.call('HINCRBYFLOAT', p .. 'counters', ARGV[i], ARGV[i + 1])
end
redis.call('PUBLISH', p .. 'changed', id)
return redis.call('HINCRBY', task, 'missing', -1)
"""

_RELEASE = """
local p, worker, reason = KEYS[1], ARGV[1], ARGV[2]
local held, suspects = {}, {}
for _, page in ipairs(redis.call('SMEMBERS', p .. 'hand:' .. worker)) do
  local id, number = string.match(page, '^(.*):(%d+)$')
  local task = p .. 'task:' .. id
  if redis.call('HGET', task .. ':reader', number) == worker then
    redis.call('HDEL', task .. ':reader', number)
    held[#held + 1] = {id, number}
    if reason ~= '' and redis.call('SISMEMBER', p .. 'begun:' .. worker, page) == 1 then
      suspects[#suspects + 1] = {task .. ':suspected', number}
    end
  end
end
for _, page in ipairs(suspects) do
  local known = redis.call('HGET', page[1], page[2])
  local strikes = known and cjson.decode(known)[1] or 0
  redis.call('HSET', page[1], page[2], cjson.encode({strikes + 1, #suspects, reason}))
end
redis.call('DEL', p .. 'hand:' .. worker, p .. 'begun:' .. worker)
redis.call('SREM', p .. 'readers', worker)
return held
"""

_FINISH = f"""{_OPEN_TASK}
redis.call('HSET', task, 'state', ARGV[2], 'finished_s', ARGV[3])
if ARGV[4] ~= '' then redis.call('HSET', task, 'error', ARGV[4]) end
redis.call('ZREM', p .. 'waiting:' .. redis.call('HGET', task, 'lane'), id)
redis.call('ZREM', p .. 'unfinished', id)
redis.call('ZREM', p .. 'unsent', id)
redis.call('SREM', p .. 'client:' .. redis.call('HGET', task, 'client'), id)
redis.call('DEL', task .. ':live', task .. ':reader')
if redis.call('HGET', task, 'webhook') == '1' then redis.call('ZADD', p .. 'webhooks', 0, id) end
redis.call('PUBLISH', p .. 'changed', id)
return 1
"""

_WEIGH = """
local p, task = KEYS[1], KEYS[1] .. 'task:' .. ARGV[1]
local before = redis.call('HGET', task, 'bytes')
if not before then return end
redis.call('HSET', task, 'bytes', ARGV[2])
redis.call('INCRBY', p .. 'kept:all', ARGV[2] - before)
redis.call('HINCRBY', p .. 'kept', redis.call('HGET', task, 'client'), ARGV[2] - before)
"""

_DELETE = """
local p, id = KEYS[1], ARGV[1]
local task = p .. 'task:' .. id
local lane = redis.call('HGET', task, 'lane')
if lane then
  redis.call('ZREM', p .. 'waiting:' .. lane, id)
  local client, bytes = redis.call('HGET', task, 'client'), redis.call('HGET', task, 'bytes') or 0
  redis.call('SREM', p .. 'client:' .. client, id)
  redis.call('DECRBY', p .. 'kept:all', bytes)
  if redis.call('HINCRBY', p .. 'kept', client, 0 - bytes) <= 0 then
    redis.call('HDEL', p .. 'kept', client)
  end
  local owner, key = redis.call('HGET', task, 'owner'), redis.call('HGET', task, 'key')
  redis.call('ZREM', p .. 'owner:' .. owner, id)
  if key ~= '' then redis.call('DEL', p .. 'key:' .. owner .. ':' .. key) end
end
for _, set in ipairs({'unfinished', 'unsent', 'expiry', 'webhooks'}) do
  redis.call('ZREM', p .. set, id)
end
redis.call('HDEL', p .. 'webhooks:tries', id)
for _, part in ipairs({'', ':settled', ':reader', ':suspected', ':live'}) do
  redis.call('DEL', task .. part)
end
redis.call('PUBLISH', p .. 'changed', id)
"""

_TAKE_WEBHOOK = """
local p = KEYS[1]
local id = redis.call('ZRANGEBYSCORE', p .. 'webhooks', '-inf', ARGV[1], 'LIMIT', 0, 1)[1]
if not id then return nil end
redis.call('ZADD', p .. 'webhooks', ARGV[2], id)
return {id, redis.call('HINCRBY', p .. 'webhooks:tries', id, 1)}
"""

SCRIPTS = {
    "create": _CREATE,
    "take_unsent": _TAKE_UNSENT,
    "take_page": _TAKE_PAGE,
    "begin": _BEGIN,
    "settle": _SETTLE,
    "release": _RELEASE,
    "finish": _FINISH,
    "weigh": _WEIGH,
    "delete": _DELETE,
    "take_webhook": _TAKE_WEBHOOK,
}
