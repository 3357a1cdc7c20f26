// monime-package from npm. Its origin is hard-coded, so each of its requests is turned to the gateway on its way out.
//
// Node trusts a private CA when it is started with NODE_EXTRA_CA_CERTS=/path/to/ca.pem.
import { createRequire } from "node:module";
import { createClient } from "monime-package";

const { BASE_URL, KEY, SPACE } = process.env;

// The very axios that monime-package loads: the CommonJS one of its own dependencies, which no import gives.
const require = createRequire(import.meta.url);
const axios = createRequire(require.resolve("monime-package"))("axios");
axios.interceptors.request.use((config) => {
  config.url = config.url.replace("https://api.monime.io", BASE_URL);
  return config;
});
// It has none of its own.
axios.defaults.timeout = 15_000;

const { checkoutSession } = createClient({ monimeSpaceId: SPACE, accessToken: KEY });

function show(step, { success, data, error }) {
  const { status, data: body } = error?.response ?? {};
  console.log(JSON.stringify({ step, success, data, error: error && { code: error.code, status, body } }));
  return data;
}

const order = ["Order 7", 500, 2, "https://shop.example/ok", "https://shop.example/no"];
const { id } = show("create", await checkoutSession.create(...order)).result;
// It has one Idempotency-Key for the whole life of the process.
show("create again", await checkoutSession.create(...order));
show("create another", await checkoutSession.create("Order 8", 700, 1, ...order.slice(3)));
show("read", await checkoutSession.getOne(id));
show("list", await checkoutSession.get());
show("delete", await checkoutSession.delete(id));
show("read what is gone", await checkoutSession.getOne(id));
