/** `cfsboot repo gc`, `fsck` and `info`, run as a person runs them: on images of a real registry, beside processes that pull. */
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { startDockerRegistry } from "./fixtures/docker-registry.ts";
import { image, tar, writeLayout } from "./fixtures/images.ts";

const CFSBOOT = join(import.meta.dirname, "../../dist/cfsboot.mjs");

let scratch: string;
let repo: string;
beforeEach(() => {
  scratch = mkdtempSync(join(tmpdir(), "repair-tools-"));
  repo = join(scratch, "repo");
  expect(cfsboot("repo", "init", "--insecure", "--hash", "sha256").status).toBe(0);
});
afterEach(() => rmSync(scratch, { recursive: true }));

function cfsboot(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [CFSBOOT, ...args, "--repo", repo],
    { encoding: "utf8", env: { ...process.env, HOME: scratch, XDG_RUNTIME_DIR: scratch } },
  );
  return { status, stdout, stderr };
}

/** Runs it without waiting; gives the exit status. */
function start(...args: string[]): Promise<number | null> {
  const child = spawn(process.execPath, [CFSBOOT, ...args, "--repo", repo], {
    stdio: "ignore",
  });
  return new Promise((resolve, reject) => child.on("error", reject).on("close", resolve));
}

/** A layer in which files are more than the layer's own. */
const layer = (name: string) => ({
  tar: tar([
    { path: "usr/" },
    { path: "run/" },
    { path: `usr/${name}`, data: name.repeat(4000) },
    { path: "usr/common", data: "common".repeat(500) },
  ]),
  compression: "gzip" as const,
});

function layout(name: string, ...layers: string[]): string {
  const directory = join(scratch, name);
  writeLayout(directory, [{ image: image(layers.map(layer)), tag: "v1" }]);
  return `oci:${directory}:v1`;
}

const objects = () =>
  readdirSync(join(repo, "objects"), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name));

const SOUND = (streams: number, images: number, tags: number) =>
  [
    "meta.json: ok",
    `objects: ${objects().length}/${objects().length} ok`,
    `streams: ${streams}/${streams} ok`,
    `images: ${images}/${images} ok`,
    "status: ok",
    `oci images: ${tags}/${tags} ok`,
    "",
  ].join("\n");

test("an image of docker-registry loses an object, and gets it back", async (ctx) => {
  for (const tool of ["docker-registry", "skopeo"]) {
    if (spawnSync("sh", ["-c", `command -v ${tool}`]).status !== 0)
      ctx.skip(`${tool} is not installed`);
  }
  const { host, child } = await startDockerRegistry(scratch);
  try {
    const source = `docker://${host}/dir/image:v1`;
    // biome-ignore format: arguments and their values
    execFileSync("skopeo", ["--insecure-policy", "copy", "--dest-tls-verify=false",
      layout("l", "one", "two"), source], { stdio: "ignore" });
    expect(cfsboot("image", "pull", source).status).toBe(0);
    expect(cfsboot("repo", "fsck")).toEqual({ status: 0, stdout: SOUND(4, 1, 1), stderr: "" });

    rmSync(objects().find((object) => statSync(object).size === 12_000)!);
    const damaged = objects().find((object) => statSync(object).size === 3000)!;
    writeFileSync(damaged, "x".repeat(3000));
    const wrong = cfsboot("repo", "fsck");
    expect(wrong.status).toBe(1);
    expect(wrong.stderr).toBe(
      `cfsboot: error: ${repo} has 4 error(s)\nhint: cfsboot repo fsck --repair --repo ${repo}\n`,
    );
    expect(wrong.stdout).toMatch(
      /^meta.json: ok\nobjects: \d+\/\d+ ok\nstreams: 3\/4 ok\nimages: 0\/1 ok\nmissing objects: 2\nstatus: 3 error\(s\)\n( {2}- fsck: [a-z-]+: .*\n){3}oci images: 0\/1 ok\noci errors: 1\n {2}- fsck: layer-object-missing: docker:.*\n$/,
    );
    const json = cfsboot("repo", "fsck", "--json");
    expect(json.status).toBe(0);
    expect(JSON.parse(json.stdout)).toMatchObject({
      ok: false,
      has_metadata: true,
      objects_corrupted: 1,
      streams_checked: 4,
      missing_objects: 2,
      errors: expect.arrayContaining([
        expect.stringMatching(
          /^fsck: object-digest-mismatch: objects\/.*: its fs-verity digest is/,
        ),
      ]),
      oci: { images_checked: 1, images_corrupted: 1 },
    });

    const repaired = cfsboot("repo", "fsck", "--repair");
    expect(repaired.status).toBe(0);
    expect(repaired.stdout).toMatch(/repaired: 4 error\(s\)\nnot repaired: 0 error\(s\)\n$/);
    expect(repaired.stderr).toMatch(/^(repairing layer sha256:[0-9a-f]{64}\n){2}$/);
    expect(cfsboot("repo", "fsck").stdout).toBe(SOUND(4, 1, 1));
  } finally {
    const ended = new Promise((resolve) => child.once("exit", resolve));
    if (child.kill()) await ended;
  }
});

test("what cannot be repaired is named, with why", () => {
  const source = layout("l", "one");
  expect(cfsboot("image", "pull", source, "name").status).toBe(0);
  rmSync(objects().find((object) => statSync(object).size === 12_000)!);
  const { status, stdout, stderr } = cfsboot("repo", "fsck", "--repair");
  expect(status).toBe(1);
  expect(stdout).toMatch(
    /repaired: 0 error\(s\)\nnot repaired: 3 error\(s\)\n( {2}- fsck: .*\n){3} {2}- image name: its name does not tell where it came from\n$/,
  );
  expect(stderr).toBe(`cfsboot: error: ${repo} has 3 error(s)\n`);
});

test("two processes pull while a third collects garbage: nothing is lost", async () => {
  const sources = ["a", "b", "c", "d"].map((name) => layout(name, `shared`, name));
  const pulls = async (mine: readonly string[]) => {
    const statuses = [];
    for (const source of [...mine, ...mine]) statuses.push(await start("image", "pull", source));
    return statuses;
  };
  let pulling = true;
  let collections = 0;
  const collector = (async () => {
    for (; pulling; collections++) expect(await start("repo", "gc")).toBe(0);
  })();
  const statuses = await Promise.all([pulls(sources.slice(0, 3)), pulls(sources.slice(1))]);
  pulling = false;
  await collector;
  expect(statuses.flat()).toEqual(Array(12).fill(0));
  expect(collections).toBeGreaterThan(2);
  expect(cfsboot("repo", "fsck").stdout).toBe(SOUND(13, 4, 4));
}, 120_000);

test("info counts objects as find and du do, and says what is shared as they would", () => {
  for (const [name, ...layers] of [
    ["first", "base", "one"],
    ["second", "base", "two"],
  ] as const) {
    expect(cfsboot("image", "pull", layout(name, ...layers), name).status).toBe(0);
  }
  writeFileSync(join(repo, "objects", "README"), "no object");
  const shell = (script: string) =>
    Number(execFileSync("sh", ["-c", script], { cwd: repo, encoding: "utf8" }).split("\t")[0]);
  const reality = () => ({
    objects: shell("find objects -mindepth 2 -type f | wc -l"),
    apparent: shell("find objects -mindepth 2 -type f -print0 | du -bc --files0-from=- | tail -n1"),
    allocated: shell(
      "find objects -mindepth 2 -type f -print0 | du -B1 -c --files0-from=- | tail -n1",
    ),
  });
  const info = () => JSON.parse(cfsboot("repo", "info", "--json").stdout);
  const before = info();
  expect(before.objects).toEqual(reality());

  // What an image adds is what is gone without it.
  cfsboot("repo", "gc");
  const both = reality();
  const second = info().roots.find(({ names }: { names: string[] }) => names[0] === "second");
  cfsboot("image", "rm", "second");
  cfsboot("repo", "gc");
  const one = reality();
  expect(info().objects).toEqual(one);
  expect(second.own).toEqual({
    objects: both.objects - one.objects,
    apparent: both.apparent - one.apparent,
    allocated: both.allocated - one.allocated,
  });
});

test("gc and info: what each image adds, and what goes without it", () => {
  for (const [name, ...layers] of [
    ["first", "base", "one"],
    ["second", "base", "two"],
  ] as const) {
    expect(cfsboot("image", "pull", layout(name, ...layers), name).status).toBe(0);
  }
  cfsboot("repo", "gc");
  const info = JSON.parse(cfsboot("repo", "info", "--json").stdout);
  expect(info).toMatchObject({
    algorithm: "fsverity-sha256-12",
    formats: [1],
    secure: false,
    streams: 7,
    images: 2,
    garbage: { objects: 0, apparent: 0, allocated: 0 },
  });
  const [first, second] = info.roots as { names: string[]; total: Amount; own: Amount }[];
  expect([first!.names, second!.names].sort()).toEqual([["first"], ["second"]]);
  expect(first!.total.objects + second!.own.objects).toBe(info.objects.objects);
  // base's stream, its file and the common file
  expect(first!.total.objects - first!.own.objects).toBe(3);
  const text = cfsboot("repo", "info").stdout;
  expect(text).toContain(`Composefs repository at ${repo}\n  algorithm: fsverity-sha256-12\n`);
  expect(text).toMatch(/\nNAME +OBJECTS +SIZE +ADDS +SHARES\n(first|second) +\d+ +\d+ kB/);

  const tag = join(repo, "streams/refs/oci/second");
  rmSync(tag);
  const expected = `Objects: ${second!.own.objects} removed (${second!.own.apparent} bytes)\nPruned symlinks: 1 images, 3 streams\n`;
  const garbage = JSON.parse(cfsboot("repo", "info", "--json").stdout).garbage;
  expect([garbage.objects, garbage.apparent]).toEqual([second!.own.objects, second!.own.apparent]);
  expect(cfsboot("repo", "gc", "--dry-run").stdout).toBe(
    `Dry run (no files deleted):\n${expected}`,
  );
  expect(cfsboot("repo", "gc")).toEqual({ status: 0, stdout: expected, stderr: "" });
  expect(JSON.parse(cfsboot("repo", "gc", "--json").stdout)).toEqual({
    result: { objects_removed: 0, objects_bytes: 0, images_pruned: 0, streams_pruned: 0 },
    dry_run: false,
  });
  expect(cfsboot("repo", "gc", "--root", "nothing").status).toBe(1);
  expect(cfsboot("repo", "fsck").stdout).toBe(SOUND(4, 1, 1));
});

interface Amount {
  readonly objects: number;
  readonly apparent: number;
}
