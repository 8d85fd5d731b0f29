/**
 * Pulls from a registry that misbehaves. Each ends in a clear error, or succeeds after trying again; the repository is
 * intact either way, has no name that was not earned, and the next pull succeeds.
 */

import { mkdtempSync, rmSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { image, tar } from "./fixtures/images.ts";
import { failure, makeRepository, pullInto, requireIntact } from "./fixtures/pulling.ts";
import { digestOf, type Handler, RegistryServer } from "./fixtures/registry-server.ts";

const noise = Buffer.from(Array.from({ length: 40_000 }, (_, i) => (i * i * 31) >> 5));
const one = image([
  { tar: tar([{ path: "usr/" }, { path: "usr/a", data: noise }]), compression: "gzip" },
  {
    tar: tar([{ path: "usr/" }, { path: "usr/b", data: noise.toReversed() }]),
    compression: "none",
  },
]);
const [first, second] = one.layers as [(typeof one.layers)[0], (typeof one.layers)[0]];

let scratch: string;
let repo: string;
let server: RegistryServer;
beforeEach(async () => {
  scratch = mkdtempSync(join(tmpdir(), "misbehaving-"));
  repo = makeRepository(join(scratch, "repo"));
  server = await RegistryServer.start();
  for (const blob of [one.config, ...one.layers]) server.blobs.set(blob.digest, blob.bytes);
  for (const key of [one.manifest.digest, "v1"]) server.manifests.set(key, one.manifest);
});
afterEach(async () => {
  await server.close();
  rmSync(scratch, { recursive: true });
});

const pull = () => pullInto(repo, `docker://${server.host}/a/b:v1`);

/** What is asked for, for requests that a test is about. */
const asks = (part: string) => (request: IncomingMessage) => request.url?.includes(part) === true;

/** Lets a handler answer the first `times` requests for what has `part` in its path. */
function misbehave(part: string, handler: Handler, times = Number.POSITIVE_INFINITY): void {
  const concerned = asks(part);
  server.intercept = (request, response) => {
    if (!concerned(request) || times <= 0) return false;
    times--;
    return handler(request, response);
  };
}

/** The pull fails; nothing but whole layers is left, and an honest registry makes it good. */
async function fails(allowed: readonly string[] = []): Promise<string> {
  const message = await failure(pull());
  expect(allowed).toEqual(expect.arrayContaining(requireIntact(repo)));
  server.intercept = () => false;
  for (const blob of one.layers) server.blobs.set(blob.digest, blob.bytes);
  await succeeds();
  return message;
}

async function succeeds(): Promise<void> {
  expect((await pull()).manifestDigest).toBe(one.manifest.digest);
  expect(requireIntact(repo)).toHaveLength(4);
}

const layerNames = one.diffIds.map((id) => `oci-layer-${id}`);

function status(code: number, headers: Record<string, string> = {}): Handler {
  return (_, response) => {
    response.writeHead(code, headers).end();
    return true;
  };
}

describe("answers", () => {
  test.each([
    ["manifests/", "Basic realm=x", "demands a login"],
    ["blobs/", "Basic realm=x", "demands a login"],
    ["manifests/", "Negotiate", "asks for negotiate; expected Bearer or Basic"],
    ["manifests/", 'Bearer realm="HOST/token"', "manifests/v1: HTTP status 401"],
    ["blobs/", 'Bearer realm="HOST/token"', "HTTP status 401"],
    ["manifests/", 'Bearer realm="HOST/loop"', "/loop: more than 5 redirects"],
    ["manifests/", 'Bearer realm="HOST/empty"', "/empty: expected JSON with a token"],
  ])("401 without end to %s: %s", async (part, challenge, why) => {
    const header = challenge.replace("HOST", `http://${server.host}`);
    server.intercept = (request, response) => {
      if (asks("/token")(request)) response.end('{"token":"t"}');
      else if (asks("/empty")(request)) response.end("{}");
      else if (asks("/loop")(request)) response.writeHead(302, { location: "/loop" }).end();
      else if (asks(part)(request)) response.writeHead(401, { "www-authenticate": header }).end();
      else return false;
      return true;
    };
    expect(await fails()).toContain(why);
    expect(server.requests.length).toBeLessThan(60);
  });

  test.each([
    ["manifests/", "manifests/v1: more than 5 redirects"],
    [first.digest, `layer 1 (${first.digest}): http`],
  ])("redirects in circles for %s", async (part, why) => {
    misbehave(part, (request, response) => {
      response.writeHead(307, { location: request.url! }).end();
      return true;
    });
    expect(await fails(layerNames)).toContain(why);
  });

  test("redirects to what is no place for images", async () => {
    misbehave(first.digest, status(307, { location: "file:///etc/passwd" }));
    expect(await fails(layerNames)).toContain("redirects to file:");
  });

  test.each([
    [500, 3],
    [429, 4],
    [503, 1],
  ])("%d, %d times, then the image", async (code, times) => {
    misbehave(first.digest, status(code, { "retry-after": "0" }), times);
    await succeeds();
  });

  test("500 for ever", async () => {
    misbehave(first.digest, status(500));
    expect(await fails(layerNames)).toContain(`${first.digest}: HTTP status 500`);
  });

  test("a manifest without end, and one that is none", async () => {
    const endless: Handler = (_, response) => {
      const more = () => {
        while (!response.destroyed && response.write(Buffer.alloc(65536, 32)));
      };
      response.on("drain", more);
      more();
      return true;
    };
    misbehave("manifests/", endless);
    expect(await fails()).toContain("longer than 4194304 bytes");
    misbehave("manifests/", (_, response) => {
      response.end("<html>login here</html>");
      return true;
    });
    expect(await failure(pull())).toContain("expected JSON");
    requireIntact(repo);
  });

  test("a manifest whose config is huge is not believed", async () => {
    const config = { mediaType: one.config.mediaType, digest: one.config.digest, size: 2 ** 40 };
    server.addManifest(
      { ...JSON.parse(one.manifest.bytes.toString()), config },
      one.manifest.mediaType,
      "v1",
    );
    expect(await failure(pull())).toContain("1099511627776 bytes; at most 16777216");
    expect(requireIntact(repo)).toEqual([]);
  });
});

describe("layers", () => {
  test.each([
    ["short", (bytes: Buffer) => bytes.subarray(0, -1), "ends after"],
    ["long", (bytes: Buffer) => Buffer.concat([bytes, Buffer.from("x")]), "is longer than"],
    ["empty", () => Buffer.alloc(0), "ends after 0 of"],
    ["another", () => second.bytes.subarray(0, first.size), "digest"],
    [
      "one byte wrong",
      (bytes: Buffer) =>
        Buffer.from(bytes.map((byte, i) => (i === bytes.length >> 1 ? byte ^ 1 : byte))),
      "has the digest",
    ],
  ])("%s", async (_, change, why) => {
    server.blobs.set(first.digest, change(first.bytes));
    const message = await fails(layerNames.slice(1));
    expect(message).toMatch(/^layer 1 \(sha256:[0-9a-f]{64}\): /);
    expect(message).toContain(why);
  });

  test("an honest blob whose content is not what the config says", async () => {
    const lie = image([{ tar: tar([{ path: "usr/" }]), compression: "gzip" }], {
      diffIds: [digestOf(Buffer.from("something else"))],
    });
    for (const blob of [lie.config, ...lie.layers]) server.blobs.set(blob.digest, blob.bytes);
    server.manifests.set("v1", lie.manifest);
    expect(await failure(pull())).toContain("the config states the diff_id");
    expect(requireIntact(repo)).toEqual([]);
  });
});

describe("silence", () => {
  test("before the answer, once: asked again", async () => {
    misbehave(first.digest, () => true, 1);
    await succeeds();
  });

  test("in the middle of a layer, once: taken up where it stopped", async () => {
    misbehave(
      second.digest,
      (_, response) => {
        response.writeHead(200, { "content-length": second.size });
        response.write(second.bytes.subarray(0, 10_000));
        return true;
      },
      1,
    );
    await succeeds();
    const ranges = server.requests.flatMap(({ range }) => range ?? []);
    expect(ranges).toEqual(["bytes=10000-"]);
  });

  test.each(["/v2/", "manifests/", first.digest])(
    "for ever at %s: given up",
    async (part) => {
      misbehave(part, () => true);
      expect(await fails(layerNames)).toMatch(/Timeout Error/i);
    },
    30_000,
  );
});

describe("connections that break off", () => {
  /** Sends the bytes up to an offset of the blob, and then no more. */
  function breakAt(offset: number, blob: { size: number; bytes: Buffer }) {
    return (request: IncomingMessage, response: ServerResponse) => {
      const from = Number(/\d+/.exec(request.headers.range ?? "0")?.[0]);
      if (from >= offset) return false;
      response.writeHead(from > 0 ? 206 : 200, {
        "content-length": blob.size - from,
        "content-range": `bytes ${from}-${blob.size - 1}/${blob.size}`,
      });
      response.write(blob.bytes.subarray(from, offset), () => response.destroy());
      return true;
    };
  }

  test("at every few bytes of a layer, of the config, of the manifest", async () => {
    const plan = [
      { part: first.digest, blob: first, step: 4001 },
      { part: second.digest, blob: second, step: 4799 },
      { part: one.config.digest, blob: one.config, step: 97 },
      { part: "manifests/", blob: one.manifest, step: 97 },
    ];
    for (const [index, { part, blob, step }] of plan.entries()) {
      for (let offset = 0; offset <= blob.size; offset += step) {
        repo = makeRepository(join(scratch, `repo-${index}-${offset}`));
        misbehave(part, breakAt(offset, blob), 2);
        await succeeds();
      }
    }
  }, 60_000);

  test("each time a little later: all of it arrives, and nothing twice", async () => {
    let sent = 0;
    misbehave(second.digest, (request, response) => {
      sent += 2500;
      return breakAt(Math.min(sent, second.size), second)(request, response);
    });
    await succeeds();
    const ranges = server.requests.flatMap(({ range }) =>
      Number(/\d+/.exec(range ?? "")?.[0] ?? []),
    );
    expect(ranges.length).toBeGreaterThan(10);
    expect(ranges).toEqual(ranges.toSorted((a, b) => a - b));
  });

  test("always: given up, naming the layer", async () => {
    misbehave(first.digest, (_, response) => {
      response.destroy();
      return true;
    });
    expect(await fails(layerNames.slice(1))).toContain(`layer 1 (${first.digest}): http`);
  });
});
