-- Posts the body of the file BODY again and again; JSON_LENGTH is set where binary tensors follow the JSON, KEY where the server asks for one.
-- With PAUSE each connection waits between an answer and its next request, PAUSE milliseconds on average, so that the load stays below the most.
local file = assert(io.open(os.getenv("BODY"), "rb"))
wrk.method = "POST"
wrk.body = file:read("*a")
file:close()
wrk.headers["Content-Type"] = "application/json"
local length = os.getenv("JSON_LENGTH")
if length and length ~= "" then
  wrk.headers["Inference-Header-Content-Length"] = length
  wrk.headers["Content-Type"] = "application/octet-stream"
end
local key = os.getenv("KEY")
if key and key ~= "" then wrk.headers["Authorization"] = "Bearer " .. key end
local pause = tonumber(os.getenv("PAUSE") or "") or 0
if pause > 0 then
  function delay() return math.random(0, 2 * pause) end
end
