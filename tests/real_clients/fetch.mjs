// Plain fetch, Node 18 or later: a gateway key where Monime's token would be, and nothing else is special.
//
// Node trusts a private CA when it is started with NODE_EXTRA_CA_CERTS=/path/to/ca.pem.
import { randomUUID } from "node:crypto";

const { BASE_URL, KEY, SPACE } = process.env;

async function ask(method, path, { body, key = KEY, again } = {}) {
  const headers = { Authorization: `Bearer ${key}`, "Monime-Space-Id": SPACE };
  if (body) headers["Content-Type"] = "application/json";
  // One for each thing that is to happen; the same one when it is tried again.
  if (method === "POST") headers["Idempotency-Key"] = again ?? randomUUID();
  const answer = await fetch(`${BASE_URL}/v1/checkout-sessions${path}`, {
    method,
    headers,
    body: body && JSON.stringify(body),
    signal: AbortSignal.timeout(15_000),
  });
  return { status: answer.status, headers: Object.fromEntries(answer.headers), body: await answer.json() };
}

function show(step, answer) {
  console.log(JSON.stringify({ step, ...answer }));
  return answer;
}

const order = {
  name: "Order 7",
  successUrl: "https://shop.example/ok",
  lineItems: [{ type: "custom", name: "Tea", price: { currency: "SLE", value: 500 }, quantity: 2 }],
};
const again = randomUUID();
const { id } = show("create", await ask("POST", "", { body: order, again })).body.result;
show("create again", await ask("POST", "", { body: order, again }));
show("read", await ask("GET", `/${id}`));
show("list", await ask("GET", "?limit=5"));
show("delete", await ask("DELETE", `/${id}`));
show("read what is gone", await ask("GET", `/${id}`));
show("ask as a stranger", await ask("GET", `/${id}`, { key: "nobody" }));
