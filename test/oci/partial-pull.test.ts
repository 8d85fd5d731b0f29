/** Pulls of images whose layers are fetched in part, if that can be, and else as a whole; the outcome is the same. */
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { toHex } from "../../src/formats/digest.ts";
import type { Linux } from "../../src/linux/linux.ts";
import { pull } from "../../userspace/oci/pull.ts";
import { openRegistry } from "../../userspace/oci/registry.ts";
import { checkRepository } from "../../userspace/repository/fsck.ts";
import { openRepository } from "../../userspace/repository/repository.ts";
import { newRepository, quickLinux } from "../repository/fixture.ts";
import {
  type ChunkedLayer,
  type ChunkedOptions,
  chunkedImage,
  chunkedLayer,
  noise,
  type TocEntry,
} from "./fixtures/chunked-layer.ts";
import type { Image, TarFile } from "./fixtures/images.ts";
import { failure, makeRepository, PLATFORM, pullInto, requireIntact } from "./fixtures/pulling.ts";
import { type Handler, RegistryServer } from "./fixtures/registry-server.ts";

const common: TarFile[] = [
  { path: "usr/" },
  { path: "usr/library", data: noise(1, 600_000) },
  { path: "usr/other", data: noise(2, 300_000) },
  { path: "usr/small", data: "the same\n" },
];
const before = chunkedLayer([...common, { path: "usr/version", data: noise(3, 3000) }]);
const next: TarFile[] = [
  ...common,
  { path: "usr/version", data: noise(4, 3000) },
  { path: "usr/version.link", type: "2", link: "version" },
];

let scratch: string;
let repo: string;
let server: RegistryServer;
beforeEach(async () => {
  scratch = mkdtempSync(join(tmpdir(), "partial-"));
  repo = makeRepository(join(scratch, "repo"));
  server = await RegistryServer.start();
  serve(chunkedImage([before]), "old");
  await pullInto(repo, `docker://${server.host}/a/b:old`);
});
afterEach(async () => {
  await server.close();
  rmSync(scratch, { recursive: true });
});

function serve(one: Image, tag: string): void {
  for (const blob of [one.config, ...one.layers]) server.blobs.set(blob.digest, blob.bytes);
  for (const key of [one.manifest.digest, tag]) server.manifests.set(key, one.manifest);
}

interface Outcome {
  /** What was reported for each layer. */
  readonly partial: number[];
  readonly whole: string[];
  /** Bytes that were reported to have arrived, and those of the layers that the registry sent. */
  readonly received: number;
  readonly sent: number;
}

/** Pulls it over what is there, and anew from an honest registry; the repositories have the same layers then. */
async function pullBoth(one: Image): Promise<Outcome> {
  serve(one, "new");
  const outcome = { partial: [] as number[], whole: [] as string[], received: 0 };
  server.sent.splice(0);
  const { manifestDigest } = await pullInto(
    repo,
    `docker://${server.host}/a/b:new`,
    {},
    {
      partial: (_, bytes) => outcome.partial.push(bytes),
      whole: (_, why) => outcome.whole.push(messages(why)),
      received: (_, bytes) => {
        outcome.received += bytes;
      },
    },
  );
  expect(manifestDigest).toBe(one.manifest.digest);
  const digests = one.layers.map(({ digest }) => digest);
  const sent = server.sent
    .filter(({ path }) => digests.some((digest) => path.endsWith(digest)))
    .reduce((sum, { size }) => sum + size, 0);
  requireIntact(repo);
  server.intercept = () => false;
  const anew = makeRepository(join(scratch, "anew"));
  await pullInto(anew, `docker://${server.host}/a/b:new`);
  expect(streams(repo, one)).toEqual(streams(anew, one));
  return { ...outcome, sent };
}

function streams(path: string, { diffIds }: Image): string[] {
  using repository = openRepository(path);
  return diffIds.map((id) => toHex(repository.streamObject(`oci-layer-${id}`)!));
}

function messages(error: unknown): string {
  const all: string[] = [];
  for (let at = error; at instanceof Error; at = at.cause) all.push(at.message);
  return all.join(": ");
}

describe("in part", () => {
  test("only what has changed is fetched (bootc#2408, bootc#2409)", async () => {
    const layer = chunkedLayer(next);
    const { partial, whole, received, sent } = await pullBoth(chunkedImage([layer]));
    expect(whole).toEqual([]);
    expect(partial).toEqual([sent]);
    expect(received).toBe(sent);
    expect(sent).toBeLessThan(layer.blob.length / 50);
  });

  test("on threads, by the layer", async () => {
    const large = (seed: number) => [
      { path: "usr/" },
      { path: "usr/large", data: noise(seed, 6_000_000) },
      { path: "usr/changed", data: noise(seed + 1, 3_000_000) },
    ];
    serve(chunkedImage([chunkedLayer(large(20)), before]), "old");
    await pullInto(repo, `docker://${server.host}/a/b:old`);
    const changed = large(20).with(2, { path: "usr/changed", data: noise(30, 3_000_000) });
    const layers = [chunkedLayer(changed), chunkedLayer(next)];
    const { partial, whole, sent } = await pullBoth(chunkedImage(layers));
    expect(whole).toEqual([]);
    expect(partial).toHaveLength(2);
    expect(sent).toBeGreaterThan(3_000_000);
    expect(sent).toBeLessThan(3_200_000);
  });

  test("with fs-verity, and what is there is not written again", async () => {
    let written = 0;
    const base = {
      ...quickLinux,
      write(...args: Parameters<Linux["write"]>) {
        const count = quickLinux.write(...args);
        written += count;
        return count;
      },
    };
    using fixture = newRepository("secure", { base });
    const one = chunkedImage([chunkedLayer(next)]);
    serve(one, "new");
    const got: number[] = [];
    for (const tag of ["old", "new"]) {
      using repository = fixture.open({ requireVerity: true });
      const transport = await openRegistry(
        { registry: server.host, repository: "a/b", tag, digest: undefined },
        { tlsVerify: true, env: {} },
      );
      written = 0;
      await pull(repository, transport, {
        name: tag,
        platform: PLATFORM,
        bootable: false,
        progress: { partial: (_, bytes) => got.push(bytes) },
      });
      await transport.close();
      expect(checkRepository(repository).findings).toEqual([]);
    }
    expect(got).toHaveLength(1);
    expect(written).toBeLessThan(50_000);
    const [diffId] = one.diffIds;
    using repository = fixture.open();
    await pullInto(repo, `docker://${server.host}/a/b:new`);
    expect(toHex(repository.streamObject(`oci-layer-${diffId}`)!)).toBe(streams(repo, one)[0]);
  });

  test("next to layers that are not zstd:chunked", async () => {
    const plain = chunkedLayer([{ path: "usr/" }, { path: "usr/plain", data: noise(6, 200_000) }]);
    const layers = [{ ...plain, annotations: {} }, chunkedLayer(next)];
    const outcome = await pullBoth(chunkedImage(layers));
    expect(outcome.partial).toHaveLength(1);
  });

  test("what is damaged here is fetched", async () => {
    for (const file of readdirSync(join(repo, "objects"), {
      recursive: true,
      withFileTypes: true,
    })) {
      const path = join(file.parentPath, file.name);
      if (file.isFile() && statSync(path).size === 300_000) writeFileSync(path, noise(9, 300_000));
    }
    serve(chunkedImage([chunkedLayer(next)]), "new");
    const got: number[] = [];
    await pullInto(repo, `docker://${server.host}/a/b:new`, {}, { partial: (_, n) => got.push(n) });
    expect(got).toHaveLength(1);
    expect(got[0]).toBeGreaterThan(300_000);
  });
});

describe("as a whole", () => {
  test("without a word if the registry knows no ranges", async () => {
    server.intercept = (request, response) => {
      const bytes = server.blobs.get(request.url?.split("/").at(-1) ?? "");
      if (bytes === undefined) return false;
      response.end(bytes);
      return true;
    };
    const layer = chunkedLayer(next);
    const { partial, whole, received } = await pullBoth(chunkedImage([layer]));
    expect({ partial, whole }).toEqual({ partial: [], whole: [] });
    expect(received).toBe(layer.blob.length);
  });

  const editVersion = (change: Partial<TocEntry>): ChunkedOptions => ({
    edit: ({ entries }) =>
      Object.assign(entries.find(({ name }) => name === "usr/version")!, change),
  });
  const wrong = `sha256:${"0".repeat(64)}`;

  test.each<[string, ChunkedOptions, string]>([
    ["a wrong digest of a file", editVersion({ digest: wrong }), `states ${wrong}`],
    ["overlapping files", editVersion({ offset: 1000 }), 'table of contents: "usr/'],
    [
      "files out of bounds",
      editVersion({ endOffset: 2 ** 40 }),
      'table of contents: "usr/version"',
    ],
    ["files of any size", editVersion({ size: 2 ** 45 }), "bytes of zstd that shall give"],
    ["another version", { edit: (toc) => Object.assign(toc, { version: 2 }) }, "version: 2"],
    [
      "a wrong name in the tar-split",
      { editSplit: (lines) => Object.assign(lines[3]!, { name: "../../etc/passwd" }) },
      "tar-split: has another file",
    ],
    [
      "headers that are none",
      {
        editSplit: (lines) =>
          Object.assign(lines[2]!, { payload: Buffer.alloc(512, 65).toString("base64") }),
      },
      "tar offset 660: checksum",
    ],
    [
      "other headers",
      {
        editSplit: (lines) =>
          Object.assign(lines.at(-1)!, { payload: Buffer.alloc(2048).toString("base64") }),
      },
      "the config states the diff_id",
    ],
  ])("if there are %s", async (_, options, why) => {
    const layer = chunkedLayer(next, options);
    const { whole, received } = await pullBoth(chunkedImage([layer]));
    expect(whole).toHaveLength(1);
    expect(whole[0]).toContain(why);
    expect(received).toBe(layer.blob.length);
  });

  test.each<[string, (layer: ChunkedLayer) => Handler]>([
    [
      "lies",
      ({ blob }) =>
        (request, response) => {
          const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "") ?? [];
          if (to === undefined) return false;
          const range = `bytes ${from}-${to}/${blob.length}`;
          const body = Buffer.alloc(Number(to) + 1 - Number(from));
          response.writeHead(206, { "content-range": range }).end(body);
          return true;
        },
    ],
    [
      "refuses ranges",
      () => (request, response) => {
        if (request.headers.range === undefined) return false;
        response.writeHead(416).end();
        return true;
      },
    ],
    [
      "breaks off, whatever part is asked for",
      () => (request) => {
        if (!/-\d+$/.test(request.headers.range ?? "")) return false;
        request.socket.destroy();
        return true;
      },
    ],
  ])("if the registry %s", async (_, handler) => {
    const layer = chunkedLayer(next);
    server.intercept = handler(layer);
    const { whole, received } = await pullBoth(chunkedImage([layer]));
    expect(whole).toHaveLength(1);
    expect(received).toBe(layer.blob.length);
  });
});

test("a layer that is not what the config says is refused, however it is fetched", async () => {
  const layer = chunkedLayer(next);
  const one = chunkedImage([{ ...layer, tar: before.tar.subarray(512) as Buffer }]);
  serve(one, "new");
  const whole: string[] = [];
  const message = await failure(
    pullInto(
      repo,
      `docker://${server.host}/a/b:new`,
      {},
      { whole: (_, why) => whole.push(messages(why)) },
    ),
  );
  expect(whole[0]).toContain("the config states the diff_id");
  expect(message).toContain("the config states the diff_id");
  expect(requireIntact(repo)).not.toContain(`oci-layer-${one.diffIds[0]}`);
});

test("one layer's failure ends another's partial pull", async () => {
  const broken = chunkedLayer([{ path: "usr/" }, { path: "usr/x", data: noise(40, 10_000) }]);
  const one = chunkedImage([broken, chunkedLayer(next)]);
  serve(one, "new");
  const [digest] = one.layers.map((layer) => layer.digest);
  server.intercept = (request, response) => {
    if (request.url?.endsWith(digest!)) response.writeHead(404).end();
    // whoever asks for a part waits
    else return request.headers.range !== undefined;
    return true;
  };
  const message = await failure(pullInto(repo, `docker://${server.host}/a/b:new`));
  expect(message).toContain(`layer 1 (${digest})`);
  requireIntact(repo);
});
