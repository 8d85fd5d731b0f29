/** The command, with images that others' tools made and served. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, type TestContext, test } from "vitest";
import { startDockerRegistry } from "./fixtures/docker-registry.ts";
import { image, tar, writeLayout } from "./fixtures/images.ts";

const CFSBOOT = join(import.meta.dirname, "../../dist/cfsboot.mjs");
const EXPECTED_DUMP = join(import.meta.dirname, "fixtures/expected-dump.py");

let scratch: string;
let repo: string;
let children: ChildProcess[] = [];
beforeEach(() => {
  scratch = mkdtempSync(join(tmpdir(), "pull-tools-"));
  repo = join(scratch, "repo");
  cfsboot("repo", "init", "--repo", repo, "--insecure", "--hash", "sha256");
});
afterEach(async () => {
  for (const child of children) {
    const ended = new Promise((resolve) => child.once("exit", resolve));
    if (child.exitCode === null && child.kill()) await ended;
  }
  children = [];
  rmSync(scratch, { recursive: true });
});

/** Skips the test where a tool is missing. */
function needs(ctx: TestContext, ...tools: string[]): void {
  for (const tool of tools) {
    if (spawnSync("sh", ["-c", `command -v ${tool}`]).status !== 0)
      ctx.skip(`${tool} is not installed`);
  }
}

function run(env: NodeJS.ProcessEnv, ...args: string[]) {
  return spawnSync(process.execPath, [CFSBOOT, ...args], {
    encoding: "utf8",
    env: { ...process.env, HOME: scratch, XDG_RUNTIME_DIR: scratch, ...env },
  });
}

function cfsboot(...args: string[]): string {
  const { status, stdout, stderr } = run({}, ...args);
  if (status !== 0) throw new Error(`cfsboot ${args.join(" ")}: exit status ${status}\n${stderr}`);
  return stdout;
}

function tool(command: string, ...args: string[]): string {
  return execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

/** An image of two layers, made with umoci: hard links, xattrs, whiteouts, fractions of seconds. */
function umociImage(): string {
  const layout = join(scratch, "umoci");
  const add = (name: string, make: string) => {
    const tree = join(scratch, name);
    mkdirSync(tree);
    tool("sh", "-ec", `cd "$0"\n${make}`, tree);
    tool("umoci", "raw", "add-layer", "--image", `${layout}:v1`, archive(tree));
  };
  const archive = (tree: string) => {
    const file = `${tree}.tar`;
    tool("tar", "-C", tree, "--format=posix", "--xattrs", "--xattrs-include=*", "-cf", file, ".");
    return file;
  };
  tool("umoci", "init", "--layout", layout);
  tool("umoci", "new", "--image", `${layout}:v1`);
  add(
    "base",
    `mkdir -p usr/bin usr/share/doc etc run/old var "usr/share/with space"
     seq 20000 > usr/bin/large; ln usr/bin/large usr/bin/larger; ln -s ../bin/large usr/share/link
     echo 1 > etc/small; echo two > etc/gone; seq 100 > usr/share/doc/a; : > usr/share/doc/empty
     printf 'a=b\\\\\\n' > "usr/share/with space/fü-"; mkfifo var/pipe; echo x > run/old/file
     chmod 4755 usr/bin/large; touch -d @1234567890.5 usr`,
  );
  add(
    "top",
    `mkdir -p usr/bin usr/share/doc etc; : > etc/.wh.gone; : > usr/share/doc/.wh..wh..opq
     seq 5000 > usr/share/doc/b; ln -s large usr/bin/alias; chmod 700 etc`,
  );
  return layout;
}

/** The dump as Python computes it. */
function expectedDump(layout: string): string {
  return tool("python3", EXPECTED_DUMP, layout, "v1");
}

test("an image by umoci has the tree that Python reads from its layers", (ctx) => {
  needs(ctx, "umoci", "python3");
  const layout = umociImage();
  const output = cfsboot("image", "pull", `oci:${layout}:v1`, "test", "--repo", repo);
  const dump = cfsboot("image", "dump", "test", "--repo", repo);
  expect(dump).toBe(expectedDump(layout));
  expect(dump).toContain("/usr/bin/larger 0 @120000 - - - - 0.0 /usr/bin/large - -\n");

  const digest = cfsboot("image", "digest", "test", "--repo", repo).trim();
  const dumpfile = join(scratch, "dump");
  writeFileSync(dumpfile, dump);
  const built = cfsboot(
    "erofs",
    "build",
    "--format",
    "1",
    "--hash",
    "sha256",
    dumpfile,
    "-",
  ).trim();
  expect(built).toBe(digest);
  expect(output).toMatch(
    new RegExp(
      `^manifest sha256:[0-9a-f]{64}
config   sha256:[0-9a-f]{64}
verity   [0-9a-f]{64}
tagged   test
objects  3 new \\+ 0 already present; .* stored, .* inline
image    ${digest}
$`,
    ),
  );
});

/** Starts docker-registry; returns its `127.0.0.1:PORT`. */
async function startRegistry(tls?: { certificate: string; key: string }): Promise<string> {
  const { host, child } = await startDockerRegistry(scratch, tls);
  children.push(child);
  return host;
}

function smallLayout(): string {
  const files = [
    { path: "usr/" },
    { path: "usr/a", data: "a".repeat(10_000) },
    { path: "usr/b", data: "b" },
  ];
  const layout = join(scratch, "small");
  writeLayout(layout, [{ image: image([{ tar: tar(files), compression: "gzip" }]), tag: "v1" }]);
  return layout;
}

interface JsonResult {
  readonly name: string;
  readonly manifest_digest: string;
  readonly image: string;
  readonly layers: { reused: boolean }[];
}

function pullJson(...args: string[]): JsonResult {
  return JSON.parse(cfsboot("image", "pull", ...args, "--repo", repo, "--json"));
}

describe("docker-registry", () => {
  test("an image that skopeo pushed, over HTTP on the loopback", async (ctx) => {
    needs(ctx, "docker-registry", "skopeo", "umoci");
    const layout = umociImage();
    const host = await startRegistry();
    const copy = (format: string, tag: string) =>
      // biome-ignore format: arguments and their values
      tool("skopeo", "--insecure-policy", "copy", "--format", format, "--dest-tls-verify=false",
        `oci:${layout}:v1`, `docker://${host}/dir/image:${tag}`);
    copy("oci", "v1");
    copy("v2s2", "docker");
    const local = pullJson(`oci:${layout}:v1`);
    const remote = pullJson(`docker://${host}/dir/image:v1`);
    expect(remote.manifest_digest).toBe(local.manifest_digest);
    expect(remote.image).toBe(local.image);
    expect(remote.layers.map(({ reused }) => reused)).toEqual([true, true]);

    const digest = `docker://${host}/dir/image@${local.manifest_digest}`;
    expect(pullJson(digest).name).toBe(digest);
    const other = join(scratch, "other");
    cfsboot("repo", "init", "--repo", other, "--insecure", "--hash", "sha256");
    repo = other;
    const docker = pullJson(`docker://${host}/dir/image:docker`);
    expect(docker.image).toBe(local.image);
    expect(docker.manifest_digest).not.toBe(local.manifest_digest);
    expect(docker.layers.map(({ reused }) => reused)).toEqual([false, false]);
  });

  test("over HTTPS: with a CA of our own, without certificates, and not without either", async (ctx) => {
    needs(ctx, "docker-registry", "skopeo", "openssl");
    const key = join(scratch, "key.pem");
    const certificate = join(scratch, "certificate.pem");
    // biome-ignore format: arguments and their values
    tool("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
      "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate);
    const layout = smallLayout();
    const host = await startRegistry({ certificate, key });
    // biome-ignore format: arguments and their values
    tool("skopeo", "--insecure-policy", "copy", "--dest-tls-verify=false",
      `oci:${layout}:v1`, `docker://${host}/image:v1`);
    const args = ["image", "pull", `docker://${host}/image:v1`, "--repo", repo];

    const refused = run({}, ...args);
    expect(refused.status).toBe(1);
    expect(refused.stderr).toBe(
      `cfsboot: error: pull docker://${host}/image:v1: https://${host}/v2/: self-signed certificate
hint: add its CA to the system's, or as /etc/containers/certs.d/HOST:PORT/ca.crt\n`,
    );
    for (const variable of ["NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE"])
      expect(run({ [variable]: certificate }, ...args).status).toBe(0);
    expect(run({}, ...args, "--tls-verify=false").status).toBe(0);
  });
});

describe("the command", () => {
  test("names the reference, the layer and what is wrong with it, on one line, and nothing else", () => {
    const layout = smallLayout();
    const { layers, config } = JSON.parse(
      readFileSync(
        join(
          layout,
          "blobs/sha256",
          JSON.parse(readFileSync(join(layout, "index.json"), "utf8")).manifests[0].digest.slice(7),
        ),
        "utf8",
      ),
    );
    expect(config.digest).toMatch(/^sha256:/);
    const path = join(layout, "blobs/sha256", layers[0].digest.slice(7));
    writeFileSync(path, readFileSync(path).subarray(0, -1));
    const { status, stdout, stderr } = run({}, "image", "pull", `oci:${layout}`, "--repo", repo);
    expect({ status, stdout, stderr }).toEqual({
      status: 1,
      stdout: "",
      stderr: `cfsboot: error: pull oci:${layout}: layer 1 (${layers[0].digest}): ends after ${layers[0].size - 1} of ${layers[0].size} bytes\n`,
    });
    expect(JSON.parse(cfsboot("image", "list", "--json", "--repo", repo))).toEqual({ images: [] });
  });

  test.each([
    [["docker://Upper"], "expected lower-case"],
    [["oci:x", "--platform", "linux"], "OS/ARCHITECTURE"],
    [["oci:x", "--tls-verify=no"], "true or false"],
  ])("wrong usage ends with 2: %j", (args, why) => {
    const { status, stderr } = run({}, "image", "pull", "--repo", repo, ...args);
    expect(stderr).toContain(why);
    expect(status).toBe(2);
  });

  test("a name that does not say where the image is: what it may mean is told", () => {
    const config = join(scratch, "registries.conf");
    writeFileSync(
      config,
      'unqualified-search-registries = ["a.example", "b.example"]\n[aliases]\ndebian = "docker.io/library/debian"\n',
    );
    const attempt = (name: string) =>
      run({ CONTAINERS_REGISTRIES_CONF: config }, "image", "pull", name, "--repo", repo);
    expect(attempt("debian:13")).toMatchObject({
      status: 2,
      stderr: `cfsboot: error: image reference "debian:13": expected one that says where the image is
hint: did you mean docker://docker.io/library/debian:13?\n`,
    });
    expect(attempt("team/app").stderr).toContain(
      "did you mean docker://a.example/team/app or docker://b.example/team/app?",
    );
    expect(attempt("quay.io/team/app").stderr).toContain("did you mean docker://quay.io/team/app?");
    expect(attempt("./nothing").stderr).toContain("oci:DIRECTORY[:TAG]");
  });

  test("two processes pull the same into one repository", async () => {
    const layout = smallLayout();
    const start = () =>
      new Promise<number | null>((resolve) => {
        const child = spawn(
          process.execPath,
          [CFSBOOT, "image", "pull", `oci:${layout}`, "same", "--repo", repo],
          { stdio: "ignore" },
        );
        children.push(child);
        child.once("exit", resolve);
      });
    expect(await Promise.all([start(), start(), start()])).toEqual([0, 0, 0]);
    const again = pullJson(`oci:${layout}`, "same");
    expect(again.layers).toMatchObject([{ reused: true }]);
    expect(again.image).toBe(cfsboot("image", "digest", "same", "--repo", repo).trim());
  });
});
