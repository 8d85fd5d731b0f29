/** Layers of which only what the repository lacks is fetched: what comes out, how many bytes it takes, what is not believed. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { parseManifest } from "../../src/formats/oci.ts";
import { CHUNKED_ANNOTATIONS } from "../../src/formats/zstd-chunked.ts";
import { LocalContents } from "../../userspace/oci/local-contents.ts";
import { openPartialLayer } from "../../userspace/oci/partial-layer.ts";
import { openRegistry } from "../../userspace/oci/registry.ts";
import { openRepository } from "../../userspace/repository/repository.ts";
import {
  type ChunkedLayer,
  type ChunkedOptions,
  chunkedImage,
  chunkedLayer,
  noise,
  type TocEntry,
} from "./fixtures/chunked-layer.ts";
import { type Image, image, type TarFile } from "./fixtures/images.ts";
import { failure, makeRepository, pullInto } from "./fixtures/pulling.ts";
import { digestOf, RegistryServer } from "./fixtures/registry-server.ts";

const library = noise(1, 1_500_000);
const holed = Buffer.concat([noise(2, 200_000), Buffer.alloc(400_000), noise(3, 100_000)]);
const common: TarFile[] = [
  { path: "usr/" },
  { path: "usr/lib/" },
  { path: "usr/lib/library.so", data: library },
  { path: "usr/lib/holed", data: holed },
  { path: "usr/empty" },
  { path: "usr/hard", type: "1", link: "usr/lib/holed" },
  { path: "usr/small", data: "the same\n" },
];
const before = chunkedLayer([...common, { path: "usr/version", data: noise(4, 3000) }]);
const after = [...common, { path: "usr/version", data: noise(5, 3000) }];

let scratch: string;
let repo: string;
let server: RegistryServer;
beforeEach(async () => {
  scratch = mkdtempSync(join(tmpdir(), "partial-"));
  repo = makeRepository(join(scratch, "repo"));
  server = await RegistryServer.start();
});
afterEach(async () => {
  await server.close();
  rmSync(scratch, { recursive: true });
});

function serve(one: Image, tag: string): void {
  for (const blob of [one.config, ...one.layers]) server.blobs.set(blob.digest, blob.bytes);
  for (const key of [one.manifest.digest, tag]) server.manifests.set(key, one.manifest);
}

const pull = (tag: string, path = repo) => pullInto(path, `docker://${server.host}/a/b:${tag}`);

/** Bytes of layers that were sent since the last call. */
function sent(one: Image): number {
  const digests = one.layers.map(({ digest }) => digest);
  return server.sent
    .splice(0)
    .filter(({ path }) => digests.some((digest) => path.endsWith(digest)))
    .reduce((sum, { size }) => sum + size, 0);
}

/** The tar archive that comes out when the layer's predecessor is in the repository; `undefined` if it is not fetched in part. */
async function assembled(layer: ChunkedLayer, counted = true): Promise<Buffer | undefined> {
  const one = chunkedImage([layer]);
  serve(one, "new");
  using repository = openRepository(repo);
  const transport = await openRegistry(
    { registry: server.host, repository: "a/b", tag: "new", digest: undefined },
    { tlsVerify: true, retryDelay: 1, env: {} },
  );
  try {
    const [descriptor] = parseManifest(one.manifest.bytes, "manifest").layers;
    server.sent.splice(0);
    const partial = await openPartialLayer(transport, descriptor!, {
      contents: new LocalContents(repository),
      signal: new AbortController().signal,
    });
    if (partial === undefined) return undefined;
    const pieces: Uint8Array[] = [];
    for await (const piece of partial.content())
      pieces.push(piece instanceof Uint8Array ? piece : repository.readObject(piece.digest));
    expect(partial.bytes).toBeLessThan(descriptor!.size / 4);
    if (counted) expect(sent(one)).toBe(partial.bytes);
    return Buffer.concat(pieces);
  } finally {
    await transport.close();
  }
}

async function pullBefore(): Promise<void> {
  serve(chunkedImage([before]), "old");
  await pull("old");
}

describe("the archive is the same to the byte", () => {
  test.each<[string, ChunkedOptions]>([
    ["with a tar-split", {}],
    ["with one as older writers left it", { tarSplit: "old" }],
    ["without a tar-split", { tarSplit: false }],
    ["with files in one piece", { chunkSize: 1 << 30 }],
    ["with files in many pieces", { chunkSize: 5000 }],
  ])("%s", async (_, options) => {
    await pullBefore();
    const layer = chunkedLayer(after, options);
    expect((await assembled(layer))?.equals(layer.tar)).toBe(true);
  });

  test("files that have moved, and that layers of other kinds have brought", async () => {
    const other = image([{ tar: before.tar, compression: "gzip" }]);
    serve(other, "old");
    await pull("old");
    const moved = after.map((file) => ({ ...file, path: file.path.replace("usr/l", "opt/l") }));
    const layer = chunkedLayer(moved);
    expect((await assembled(layer))?.equals(layer.tar)).toBe(true);
  });

  test("although the registry breaks off now and then", async () => {
    await pullBefore();
    let breaks = 3;
    server.intercept = (request, response) => {
      const blob = server.blobs.get(request.url?.split("/").at(-1) ?? "");
      const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "") ?? [];
      if (blob === undefined || to === undefined || breaks-- <= 0) return false;
      const bytes = blob.subarray(Number(from), Number(to) + 1);
      const range = `bytes ${from}-${to}/${blob.length}`;
      response.writeHead(206, { "content-range": range, "content-length": bytes.length });
      response.write(bytes.subarray(0, bytes.length >> 1), () => request.socket.destroy());
      return true;
    };
    const layer = chunkedLayer(after);
    expect((await assembled(layer, false))?.equals(layer.tar)).toBe(true);
    expect(breaks).toBeLessThanOrEqual(0);
  });

  test("of a file with holes that is missing, only what is in it is fetched", async () => {
    const plain = common.filter(({ path }) => !/holed|hard/.test(path));
    serve(chunkedImage([chunkedLayer(plain)]), "old");
    await pull("old");
    const layer = chunkedLayer([
      ...plain,
      {
        path: "usr/hole",
        data: Buffer.concat([noise(6, 65536), Buffer.alloc(40 << 16), noise(7, 9)]),
      },
    ]);
    expect((await assembled(layer))?.equals(layer.tar)).toBe(true);
  });
});

describe("all is fetched at once", () => {
  test("if nothing is there", async () => {
    expect(await assembled(chunkedLayer(after))).toBeUndefined();
    expect(server.requests.filter(({ range }) => range !== undefined)).toEqual([]);
  });

  test("if it is cheaper, and only the table of contents has been fetched in vain", async () => {
    serve(
      chunkedImage([chunkedLayer([{ path: "usr/" }, { path: "usr/other", data: noise(8, 1000) }])]),
      "old",
    );
    await pull("old");
    expect(await assembled(chunkedLayer(after))).toBeUndefined();
    expect(server.requests.filter(({ range }) => range !== undefined)).toHaveLength(1);
  });

  test("if the layer is not zstd:chunked", async () => {
    await pullBefore();
    const layer = chunkedLayer(after);
    expect(await assembled({ ...layer, annotations: {} })).toBeUndefined();
  });

  test("if the registry knows no ranges", async () => {
    await pullBefore();
    server.intercept = (request, response) => {
      const bytes = server.blobs.get(request.url?.split("/").at(-1) ?? "");
      if (bytes === undefined) return false;
      response.end(bytes);
      return true;
    };
    expect(await assembled(chunkedLayer(after))).toBeUndefined();
  });
});

/** The layer, but what its table of contents says of `usr/version` is changed. */
function withVersion(change: (entry: TocEntry) => Partial<TocEntry>): ChunkedLayer {
  return chunkedLayer(after, {
    edit({ entries }) {
      const entry = entries.find(({ name }) => name === "usr/version")!;
      Object.assign(entry, change(entry));
    },
  });
}

describe("what is not as announced is an error", () => {
  const wrong = `sha256:${"0".repeat(64)}`;
  test.each<[string, () => ChunkedLayer, string]>([
    [
      "digest of the table of contents",
      () => {
        const layer = chunkedLayer(after);
        return {
          ...layer,
          annotations: { ...layer.annotations, [CHUNKED_ANNOTATIONS.tocDigest]: wrong },
        };
      },
      `expected ${wrong}`,
    ],
    [
      "size of the table of contents",
      () => {
        const layer = chunkedLayer(after);
        const { [CHUNKED_ANNOTATIONS.tocPosition]: position } = layer.annotations;
        const larger = position!.replace(/:\d+:1$/, ":40000:1");
        return {
          ...layer,
          annotations: { ...layer.annotations, [CHUNKED_ANNOTATIONS.tocPosition]: larger },
        };
      },
      "table of contents: ",
    ],
    [
      "digest of the tar-split",
      () => chunkedLayer(after, { edit: (toc) => Object.assign(toc, { tarSplitDigest: wrong }) }),
      `tar-split: has the digest sha256:`,
    ],
    [
      "digest of a file",
      () => withVersion(() => ({ digest: wrong })),
      `"usr/version": has the digest ${digestOf(noise(5, 3000))}; the table of contents states ${wrong}`,
    ],
    [
      "place of a file",
      () => withVersion(({ offset }) => ({ offset: offset! - 1 })),
      '"usr/version"',
    ],
    ["files that overlap", () => withVersion(() => ({ offset: 10 })), 'table of contents: "usr/'],
    [
      "names of the tar-split",
      () =>
        chunkedLayer(after, {
          editSplit: (lines) => Object.assign(lines.at(-2)!, { name: "usr/revision" }),
        }),
      'tar-split: has another file where the table of contents has "usr/version" of 3000 bytes',
    ],
    [
      "files that the tar-split lacks",
      () => chunkedLayer(after, { editSplit: (lines) => lines.splice(-2) }),
      'tar-split: lacks "usr/version"',
    ],
    [
      "files that only the tar-split has",
      () => chunkedLayer(after, { editSplit: (lines) => lines.push(...lines.slice(-2)) }),
      "tar-split: has more files than the table of contents",
    ],
  ])("%s", async (_, make, why) => {
    await pullBefore();
    expect(await failure(assembled(make()))).toContain(why);
  });

  test.each([
    ["other bytes", (bytes: Buffer, range: string) => [206, range, Buffer.from(bytes).fill(1)]],
    ["another range", (bytes: Buffer) => [206, `bytes 0-${bytes.length - 1}/*`, bytes]],
    ["another size", (bytes: Buffer, range: string) => [206, range.replace(/\d+$/, "77"), bytes]],
    ["no range", (bytes: Buffer) => [206, "", bytes]],
    ["too few", (bytes: Buffer, range: string) => [206, range, bytes.subarray(1)]],
    ["too many", (bytes: Buffer, range: string) => [206, range, Buffer.concat([bytes, bytes])]],
    ["no such range", () => [416, "bytes */5", Buffer.alloc(0)]],
  ] as const)("a registry that sends %s", async (_, lie) => {
    await pullBefore();
    server.intercept = (request, response) => {
      const blob = server.blobs.get(request.url?.split("/").at(-1) ?? "");
      const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "") ?? [];
      if (blob === undefined || to === undefined) return false;
      const bytes = Buffer.from(blob.subarray(Number(from), Number(to) + 1));
      const [status, range, body] = lie(bytes, `bytes ${from}-${to}/${blob.length}`);
      response.writeHead(status as number, { "content-range": range as string }).end(body);
      return true;
    };
    expect(await failure(assembled(chunkedLayer(after)))).toMatch(/sha256:/);
  });
});
