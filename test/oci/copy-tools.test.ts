/** The commands that name, describe and copy images, as they are shipped; what they write is read by others' tools. */
import { type ChildProcess, execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, type TestContext, test } from "vitest";
import { startDockerRegistry } from "./fixtures/docker-registry.ts";
import { blob, descriptor, image, json, tar, writeLayout } from "./fixtures/images.ts";

const CFSBOOT = join(import.meta.dirname, "../../dist/cfsboot.mjs");

const debian = image([
  {
    compression: "gzip",
    tar: tar([
      { path: "usr/" },
      { path: "usr/large", data: "content ".repeat(100_000) },
      { path: "usr/link", type: "2", link: "large" },
    ]),
  },
  { compression: "none", tar: tar([{ path: "usr/" }, { path: "usr/new", data: "new" }]) },
]);
const signature = (() => {
  const empty = blob("application/vnd.oci.empty.v1+json", Buffer.from("{}"));
  const layer = blob("application/vnd.example.signature", Buffer.from("signed"));
  const mediaType = "application/vnd.oci.image.manifest.v1+json";
  const manifest = json(mediaType, {
    schemaVersion: 2,
    mediaType,
    config: descriptor({ ...empty, mediaType: "application/vnd.example.config" }),
    layers: [descriptor(layer)],
    subject: descriptor(debian.manifest),
    annotations: { by: "me" },
  });
  return { manifest, config: empty, layers: [layer], diffIds: [] };
})();

let scratch: string;
let repo: string;
let child: ChildProcess | undefined;
beforeEach(() => {
  scratch = mkdtempSync(join(tmpdir(), "copy-tools-"));
  repo = newRepository("repo");
  for (const [name, source] of Object.entries({ debian, signature })) {
    const layout = join(scratch, name);
    writeLayout(layout, [{ image: source }]);
    cfsboot("image", "pull", `oci:${layout}`, name);
  }
});
afterEach(async () => {
  const running = child;
  child = undefined;
  if (running?.exitCode === null) {
    const ended = new Promise((resolve) => running.once("exit", resolve));
    if (running.kill()) await ended;
  }
  rmSync(scratch, { recursive: true });
});

function newRepository(name: string): string {
  const path = join(scratch, name);
  run("repo", "init", "--repo", path, "--insecure", "--hash", "sha256");
  return path;
}

function run(...args: string[]) {
  return spawnSync(process.execPath, [CFSBOOT, ...args], {
    encoding: "utf8",
    env: { ...process.env, HOME: scratch, XDG_RUNTIME_DIR: scratch },
  });
}

/** Runs a command on a repository. */
function on(repository: string, ...args: string[]): string {
  const { status, stdout, stderr } = run(...args, "--repo", repository);
  expect({ args, status, stderr }).toEqual({ args, status: 0, stderr: "" });
  return stdout;
}

const cfsboot = (...args: string[]) => on(repo, ...args);

/** Standard error of a command that fails. */
function fail(...args: string[]): string {
  const { status, stdout, stderr } = run(...args, "--repo", repo);
  expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
  return stderr;
}

function needs(ctx: TestContext, ...tools: string[]): void {
  for (const tool of tools) {
    if (spawnSync("sh", ["-c", `command -v ${tool}`]).status !== 0)
      ctx.skip(`${tool} is not installed`);
  }
}

function tool(command: string, ...args: string[]): string {
  return execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

describe("image inspect", () => {
  test("prints the documents as they were received, and digests", () => {
    expect(JSON.parse(cfsboot("image", "inspect", "debian"))).toEqual({
      manifest: debian.manifest.bytes.toString(),
      config: debian.config.bytes.toString(),
      referrers: [signature.manifest.digest],
      composefs_erofs: cfsboot("image", "digest", "debian").trim(),
      composefs_boot_erofs: null,
    });
    expect(cfsboot("image", "inspect", "debian", "--manifest")).toBe(`${debian.manifest.bytes}\n`);
    expect(cfsboot("image", "inspect", "--config", `@${debian.manifest.digest}`)).toBe(
      `${debian.config.bytes}\n`,
    );
    expect(cfsboot("image", "inspect", "--manifest", `@${debian.config.digest}`)).toBe(
      `${debian.manifest.bytes}\n`,
    );
  });

  test("of an artifact", () => {
    expect(JSON.parse(cfsboot("image", "inspect", "signature"))).toEqual({
      manifest: signature.manifest.bytes.toString(),
      config: "{}",
      referrers: [],
      composefs_erofs: null,
      composefs_boot_erofs: null,
    });
    expect(fail("image", "digest", "signature")).toBe(
      "cfsboot: error: image signature: an artifact has no filesystem, only container images have one\n",
    );
    expect(cfsboot("image", "list")).toMatch(/^signature +sha256:[0-9a-f]{12} +artifact +1 +0$/m);
  });

  test("of what several images have, of what is not there, and of too much", () => {
    const document = { ...JSON.parse(debian.manifest.bytes.toString()), annotations: { a: "b" } };
    const sibling = { ...debian, manifest: json(debian.manifest.mediaType, document) };
    writeLayout(join(scratch, "sibling"), [{ image: sibling }]);
    cfsboot("image", "pull", `oci:${join(scratch, "sibling")}`, "sibling");
    const digests = [debian.manifest.digest, sibling.manifest.digest].sort();
    expect(fail("image", "inspect", `@${debian.config.digest}`)).toBe(
      `cfsboot: error: config ${debian.config.digest}: 2 images have it
hint: say which one: @${digests[0]}, @${digests[1]}\n`,
    );
    expect(fail("image", "inspect", "none")).toContain(
      "image none: there is no such image\nhint: ",
    );
    expect(run("image", "inspect", "debian", "--manifest", "--config").status).toBe(2);
  });
});

test("image referrers is a table, and with --json the list that registries give", () => {
  expect(cfsboot("image", "referrers", "debian").split("\n")).toEqual([
    expect.stringMatching(/^DIGEST +TYPE$/),
    `${signature.manifest.digest}  application/vnd.example.config`,
    "",
  ]);
  expect(JSON.parse(cfsboot("image", "referrers", `@${debian.manifest.digest}`, "--json"))).toEqual(
    [
      {
        ...descriptor(signature.manifest),
        artifactType: "application/vnd.example.config",
        annotations: { by: "me" },
      },
    ],
  );
  expect(cfsboot("image", "referrers", "signature")).toBe("DIGEST  TYPE\n");
});

describe("image tag, untag and rm", () => {
  const { digest } = debian.manifest;
  const names = () =>
    JSON.parse(cfsboot("image", "list", "--json")).images.map(({ name }: { name: string }) => name);

  test("names come and go", () => {
    expect(cfsboot("image", "tag", "debian", "a/b:c")).toBe(`Tagged ${digest} as a/b:c\n`);
    for (const [image, tag] of [
      [digest, "bare"],
      [`@${digest}`, "by-digest"],
      [`@${debian.config.digest}`, "by-config"],
    ] as const) {
      expect(cfsboot("image", "tag", image, tag)).toBe(`Tagged ${digest} as ${tag}\n`);
    }
    expect(names()).toEqual(["a/b:c", "bare", "by-config", "by-digest", "debian", "signature"]);
    expect(cfsboot("image", "untag", "a/b:c")).toBe("Removed tag a/b:c\n");
    expect(names()).not.toContain("a/b:c");
    expect(fail("image", "untag", "a/b:c")).toContain("untag a/b:c: there is no such image");
    expect(fail("image", "untag", `@${digest}`)).toContain("a leading @ is for digests");
    expect(fail("image", "tag", "debian", "@x")).toContain("a leading @ is for digests");
  });

  test("what is left after a removal is said", () => {
    cfsboot("image", "tag", "debian", "second");
    expect(cfsboot("image", "rm", "second")).toBe(
      `Removed tag second\nKept image ${digest}, which is still named:\n  debian\n`,
    );
    expect(cfsboot("image", "rm", "signature")).toContain(`  referrer of ${digest}\n`);
    expect(cfsboot("image", "rm", `@${digest}`)).toBe(
      `Removed tag debian
Removed referrer ${signature.manifest.digest}
Removed image ${digest}
Its objects stay until: cfsboot repo gc --repo ${repo}\n`,
    );
    expect(names()).toEqual([]);
    cfsboot("repo", "gc");
    expect(cfsboot("repo", "gc")).toContain("Objects: 0 removed");
    expect(fail("image", "rm", "debian")).toContain("remove debian: there is no such image");
  });
});

describe("image copy", () => {
  test("to a layout that skopeo and umoci read", (ctx) => {
    needs(ctx, "skopeo", "umoci");
    const layout = join(scratch, "out");
    const output = cfsboot("image", "copy", "debian", `oci:${layout}:v1`);
    const digest = /^manifest (sha256:[0-9a-f]{64})\n/.exec(output)?.[1];
    expect(output).toContain(`\ncopied   oci:${layout}:v1\nlayers   2`);
    const inspected = JSON.parse(tool("skopeo", "inspect", `oci:${layout}:v1`));
    expect(inspected).toMatchObject({ Digest: digest, Architecture: "amd64" });
    tool("umoci", "raw", "unpack", "--rootless", "--image", `${layout}:v1`, join(scratch, "root"));
    expect(readFileSync(join(scratch, "root/usr/large"), "utf8")).toBe("content ".repeat(100_000));

    // skopeo verifies every blob on the way
    const copied = join(scratch, "copied");
    tool("skopeo", "--insecure-policy", "copy", `oci:${layout}:v1`, `oci:${copied}:v1`);
    const other = newRepository("other");
    on(other, "image", "pull", `oci:${copied}:v1`, "back");
    expect(on(other, "image", "digest", "back")).toBe(cfsboot("image", "digest", "debian"));
  });

  test("to docker-registry, and from there to another repository, by ours and by skopeo", async (ctx) => {
    needs(ctx, "docker-registry", "skopeo");
    const { host, child: process } = await startDockerRegistry(scratch);
    child = process;
    const target = `docker://${host}/dir/debian:13`;
    const result = JSON.parse(cfsboot("image", "copy", "debian", target, "--json"));
    const { Digest } = JSON.parse(tool("skopeo", "inspect", "--tls-verify=false", target));
    expect(Digest).toBe(result.manifest_digest);
    expect(result).toMatchObject({
      source_manifest_digest: debian.manifest.digest,
      config_digest: debian.config.digest,
      layers: [{ reused: false }, { reused: false }],
    });
    const again = JSON.parse(cfsboot("image", "copy", "debian", target, "--json"));
    expect(again.layers).toMatchObject([{ reused: true }, { reused: true }]);
    expect(again.manifest_digest).toBe(result.manifest_digest);

    const other = newRepository("other");
    on(other, "image", "pull", target, "ours");
    const layout = `oci:${join(scratch, "by-skopeo")}:x`;
    tool("skopeo", "--insecure-policy", "copy", "--src-tls-verify=false", target, layout);
    on(other, "image", "pull", layout, "skopeo's");
    for (const name of ["ours", "skopeo's"]) {
      expect(on(other, "image", "digest", name)).toBe(cfsboot("image", "digest", "debian"));
    }

    // the blobs of an image that came from there are taken from there
    on(other, "image", "pull", target);
    const mounted = run(
      "image",
      "copy",
      target,
      `docker://${host}/elsewhere:1`,
      "--repo",
      other,
      "--json",
    );
    expect(JSON.parse(mounted.stdout)).toMatchObject({
      manifest_digest: result.manifest_digest,
      layers: [{ reused: true }, { reused: true }],
    });

    // this registry has no API for referrers
    cfsboot("image", "copy", "signature", `docker://${host}/dir/debian:sig`);
    const tag = `docker://${host}/dir/debian:${debian.manifest.digest.replace(":", "-")}`;
    const index = JSON.parse(tool("skopeo", "inspect", "--raw", "--tls-verify=false", tag));
    expect(index.manifests).toMatchObject([{ digest: signature.manifest.digest }]);
  });

  test("a large image to docker-registry, whose layer takes more than one request", async (ctx) => {
    needs(ctx, "docker-registry");
    const { host, child: process } = await startDockerRegistry(scratch);
    child = process;
    let state = 7;
    const data = Buffer.from(
      Uint8Array.from({ length: 12_000_000 }, () => {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
        return state >>> 24;
      }),
    );
    const large = image([
      { compression: "gzip", tar: tar([{ path: "usr/" }, { path: "usr/x", data }]) },
    ]);
    writeLayout(join(scratch, "large"), [{ image: large }]);
    cfsboot("image", "pull", `oci:${join(scratch, "large")}`, "large");
    cfsboot("image", "copy", "large", `docker://${host}/large:1`);
    const other = newRepository("other");
    on(other, "image", "pull", `docker://${host}/large:1`, "large");
    expect(on(other, "image", "digest", "large")).toBe(cfsboot("image", "digest", "large"));
  });

  test("failures name the image, the destination and the reason", () => {
    const occupied = join(scratch, "occupied");
    mkdirSync(occupied);
    writeFileSync(join(occupied, "file"), "");
    expect(fail("image", "copy", "debian", `oci:${occupied}`)).toBe(
      `cfsboot: error: copy debian to oci:${occupied}: ${occupied} is no image layout, and it is not empty\n`,
    );
    expect(fail("image", "copy", "none", `oci:${occupied}`)).toContain("there is no such image");
    for (const target of ["debian:13", "dir:/x", "oci:"]) {
      const { status, stderr } = run("image", "copy", "debian", target, "--repo", repo);
      expect(stderr).toContain("expected");
      expect(status).toBe(2);
    }
  });
});
