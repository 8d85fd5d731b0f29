/** The command, with zstd:chunked layers as others' tools make and serve them. */
import { type ChildProcess, execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { noise } from "./fixtures/chunked-layer.ts";
import { startDockerRegistry } from "./fixtures/docker-registry.ts";
import { image, type TarFile, tar, writeLayout } from "./fixtures/images.ts";

const CFSBOOT = join(import.meta.dirname, "../../dist/cfsboot.mjs");

let scratch: string;
let registry: ChildProcess | undefined;
beforeEach(() => {
  scratch = mkdtempSync(join(tmpdir(), "partial-tools-"));
});
afterEach(async () => {
  if (registry !== undefined) {
    const ended = new Promise((resolve) => registry?.once("exit", resolve));
    if (registry.exitCode === null && registry.kill()) await ended;
    registry = undefined;
  }
  rmSync(scratch, { recursive: true });
});

function cfsboot(...args: string[]): string {
  const env = { ...process.env, HOME: scratch, XDG_RUNTIME_DIR: scratch };
  return execFileSync(process.execPath, [CFSBOOT, ...args], { encoding: "utf8", env });
}

test("an image that skopeo has pushed as zstd:chunked, and its successor", async (ctx) => {
  for (const tool of ["skopeo", "docker-registry"]) {
    if (spawnSync("sh", ["-c", `command -v ${tool}`]).status !== 0)
      ctx.skip(`${tool} is not installed`);
  }
  const { host, child } = await startDockerRegistry(scratch);
  registry = child;
  const files: TarFile[] = [
    { path: "usr/" },
    { path: "usr/library", data: noise(1, 2_000_000) },
    {
      path: "usr/holed",
      data: Buffer.concat([noise(2, 90_000), Buffer.alloc(300_000), noise(3, 9)]),
    },
    { path: "usr/small", data: "small\n" },
    { path: "usr/link", type: "2", link: "library" },
  ];
  const layout = join(scratch, "layout");
  const images = [5, 6].map((seed) => ({
    image: image([
      {
        tar: tar([...files, { path: "usr/version", data: noise(seed, 4000) }]),
        compression: "gzip" as const,
      },
    ]),
    tag: `v${seed}`,
  }));
  writeLayout(layout, images);
  const policy = ["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"];
  const format = ["--dest-compress-format", "zstd:chunked", "--dest-compress"];
  for (const { tag } of images)
    execFileSync("skopeo", [
      ...policy,
      ...format,
      `oci:${layout}:${tag}`,
      `docker://${host}/x:${tag}`,
    ]);

  const repo = join(scratch, "repo");
  cfsboot("repo", "init", "--repo", repo, "--insecure", "--hash", "sha256");
  const [from, into] = [`docker://${host}/x`, ["--repo", repo]];
  const first = JSON.parse(cfsboot("image", "pull", `${from}:v5`, ...into, "--json"));
  expect(first.layers[0].fetched).toBe(first.layers[0].size);
  const text = cfsboot("image", "pull", `${from}:v6`, "next", ...into);
  expect(text).toMatch(/^partial {2}1 layer; [\d.]+ kB of 2\.1 MB fetched, the rest was here$/m);
  const again = JSON.parse(cfsboot("image", "pull", `${from}:v6`, "next", ...into, "--json"));
  expect(again.layers).toMatchObject([{ reused: true, fetched: 0 }]);

  const anew = join(scratch, "anew");
  cfsboot("repo", "init", "--repo", anew, "--insecure", "--hash", "sha256");
  const plain = JSON.parse(
    cfsboot("image", "pull", `oci:${layout}:v6`, "next", "--repo", anew, "--json"),
  );
  expect(again.image).toBe(plain.image);
  cfsboot("repo", "fsck", ...into);
});
