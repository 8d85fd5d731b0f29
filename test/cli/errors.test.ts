import { once } from "node:events";
import { readFileSync } from "node:fs";
import { type AddressInfo, connect, createServer } from "node:net";
import { expect, test } from "vitest";
import { describeError, isInternal } from "../../userspace/cli/errors.ts";

test("one line: what failed, and why", () => {
  const why = new Error("no such\n  object");
  const error = new Error("pull image", { cause: new Error("layer 2", { cause: why }) });
  expect(describeError(error).message).toBe("pull image: layer 2: no such object");
});

test("what an error repeats of its cause is said once", () => {
  const error = new Error("open /x: not found", { cause: new Error("not found") });
  expect(describeError(error).message).toBe("open /x: not found");
});

test("Node's own errors say first what failed", () => {
  let error: unknown;
  try {
    readFileSync("/nonexistent/file");
  } catch (e) {
    error = e;
  }
  expect(describeError(new Error("config", { cause: error })).message).toBe(
    "config: open /nonexistent/file: no such file or directory",
  );
});

test("connections that fail, in words", async () => {
  const failure = (options: { host: string; port: number }) =>
    new Promise((resolve) => connect(options).on("error", resolve));
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  expect(describeError(await failure({ host: "127.0.0.1", port })).message).toBe(
    `connect 127.0.0.1:${port}: connection refused`,
  );
  const unknown = { errno: -3008, code: "ENOTFOUND", syscall: "getaddrinfo" };
  const error = Object.assign(new Error("getaddrinfo ENOTFOUND registry.example"), unknown);
  expect(describeError(error).message).toBe("getaddrinfo registry.example: no such host");
});

test("hints, of every error in the chain, each once", () => {
  const cause = Object.assign(new Error("b"), { hint: "look there" });
  const error = Object.assign(new Error("a", { cause }), { hint: "do this" });
  expect(describeError(error).hints).toEqual(["do this", "look there"]);
  expect(describeError(new Error("c", { cause: Object.assign(error, { cause }) })).hints).toEqual([
    "do this",
    "look there",
  ]);
});

test("errors that come in a bundle, and those that are none", () => {
  const bundle = new AggregateError([new Error("connection refused")], "");
  expect(describeError(new Error("fetch", { cause: bundle })).message).toBe(
    "fetch: connection refused",
  );
  expect(describeError("text").message).toBe("text");
  expect(describeError(undefined).message).toBe("unknown error");
});

test("a chain without end is cut", () => {
  const error = new Error("again");
  error.cause = error;
  expect(describeError(error).message).toBe("again");
});

test("faults of the program are told from conditions of the system", () => {
  expect(isInternal(new TypeError("x is not a function"))).toBe(true);
  expect(isInternal(Object.assign(new TypeError("Invalid URL"), { code: "ERR_INVALID_URL" }))).toBe(
    false,
  );
  expect(isInternal(new Error("no such image"))).toBe(false);
});
