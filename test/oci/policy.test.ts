/** The signature policy: what it says about an image, and that pulls obey it, with images that skopeo signs. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, type TestContext, test } from "vitest";
import { receiveManifest } from "../../userspace/oci/manifest-receiver.ts";
import { judge, loadPolicy, parsePolicy } from "../../userspace/oci/policy.ts";
import { parseReference } from "../../userspace/oci/reference.ts";
import { image, indexEntries, tar, writeLayout } from "./fixtures/images.ts";
import { RegistryServer } from "./fixtures/registry-server.ts";

const CFSBOOT = join(import.meta.dirname, "../../dist/cfsboot.mjs");

let scratch: string;
beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), "policy-"));
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const accept = [{ type: "insecureAcceptAnything" }];
const reject = [{ type: "reject" }];

function policy(document: object) {
  return parsePolicy(Buffer.from(JSON.stringify(document)), "policy.json");
}

describe("what a policy says", () => {
  const signed = [{ type: "signedBy", keyType: "GPGKeys", keyPath: "/x" }];
  const digest = `sha256:${"0".repeat(64)}`;

  test.each([
    ["docker://a.example/x", "accept", 'transport docker, scope ""'],
    ["docker://b.example/x", "reject", 'transport docker, scope "b.example"'],
    ["docker://b.example/team/x", "check", 'transport docker, scope "b.example/team"'],
    ["docker://b.example/team/x:1", "accept", 'transport docker, scope "b.example/team/x:1"'],
    ["docker://b.example/teams/x", "reject", 'transport docker, scope "b.example"'],
    [`docker://b.example/team/x:1@${digest}`, "check", 'transport docker, scope "b.example/team"'],
    [`docker://c.example/x@${digest}`, "reject", `transport docker, scope "c.example/x@${digest}"`],
    ["docker://p.example:5000/x", "reject", 'transport docker, scope "p.example:5000"'],
    ["docker://p.example/x", "accept", 'transport docker, scope ""'],
    ["docker://a.b.wild.example:5000/x", "check", 'transport docker, scope "*.wild.example"'],
    ["docker://wild.example/x", "accept", 'transport docker, scope ""'],
    ["docker://debian", "reject", 'transport docker, scope "docker.io/library"'],
    ["docker://unknown.example/x", "check", 'transport docker, scope "unknown.example"'],
    ["docker-archive:x.tar", "reject", "default"],
    ["dir:/some/where", "reject", "default"],
  ])("%s: %s", (source, kind, scope) => {
    const rules = policy({
      default: reject,
      transports: {
        docker: {
          "": accept,
          "b.example": reject,
          "b.example/team": signed,
          "b.example/team/x:1": accept,
          [`c.example/x@${digest}`]: reject,
          "p.example:5000": reject,
          "*.wild.example": [...accept, ...signed],
          "docker.io/library": [...accept, ...reject],
          "unknown.example": [{ type: "somethingNew" }],
        },
        oci: { "": accept },
      },
    });
    expect(judge(rules, parseReference(source))).toEqual({ kind, scope });
  });

  test("directories and files are known by their real paths, and by those they are in", () => {
    mkdirSync(join(scratch, "real/dir"), { recursive: true });
    symlinkSync("real", join(scratch, "link"));
    const rules = policy({
      default: accept,
      transports: {
        oci: { [join(scratch, "real")]: reject },
        dir: { [join(scratch, "real/dir")]: reject },
        "oci-archive": { [scratch]: reject },
      },
    });
    const kind = (source: string) => judge(rules, parseReference(source)).kind;
    expect(kind(`oci:${scratch}/link/dir:tag`)).toBe("reject");
    expect(kind(`oci:${scratch}/other`)).toBe("accept");
    expect(kind(`dir:${scratch}/link/dir`)).toBe("reject");
    expect(kind(`dir:${scratch}/link`)).toBe("accept");
    expect(kind(`oci-archive:${scratch}/x.tar`)).toBe("reject");
    expect(kind("docker-archive:x.tar")).toBe("accept");
  });

  test.each([
    [{}, "default: expected a list"],
    [{ default: [] }, "default: expected at least one requirement"],
    [{ default: [{}] }, "default[0].type: expected a string"],
    [{ default: accept, transport: {} }, "transport: not expected in a policy"],
    [{ default: accept, transports: { docker: { x: [] } } }, "transports.docker.x: expected at"],
    [[], "policy.json: expected an object"],
  ])("refused: %j", (document, why) => {
    expect(() => policy(document)).toThrow(why);
  });

  test("the user's own is the one, else the administrator's, else the vendor's, or none", () => {
    const system = ["usr", "etc"].map((name) => join(scratch, name));
    const home = join(scratch, "home");
    const load = () => loadPolicy({ env: { HOME: home }, uid: 0, system })?.file;
    const write = (directory: string) => {
      mkdirSync(directory, { recursive: true });
      writeFileSync(join(directory, "policy.json"), JSON.stringify({ default: accept }));
      return join(directory, "policy.json");
    };
    expect(load()).toBeUndefined();
    for (const directory of [...system, join(home, ".config/containers")])
      expect(write(directory)).toBe(load());
    writeFileSync(join(home, ".config/containers/policy.json"), "{");
    expect(load).toThrow("policy.json: expected JSON");
  });
});

test("the receiver takes a manifest from nobody who does not know the password", async () => {
  const receiver = await receiveManifest("secret");
  try {
    const put = (password: string) =>
      fetch(`http://${receiver.registry}/v2/image/manifests/received`, {
        method: "PUT",
        headers: {
          authorization: `Basic ${Buffer.from(`cfsboot:${password}`).toString("base64")}`,
        },
        body: `{"from":"${password}"}`,
      });
    expect((await put("guess")).status).toBe(401);
    expect(() => receiver.manifest()).toThrow("sent no manifest");
    expect((await put("secret")).status).toBe(201);
    await put("secret");
    expect(Buffer.from(receiver.manifest().bytes).toString()).toBe('{"from":"secret"}');
  } finally {
    await receiver.close();
  }
});

describe("pulls", () => {
  const children: ChildProcess[] = [];
  let home: string;
  let repo: string;
  let gnupg: string;
  let server: RegistryServer;
  let obstacle: string | undefined;

  const one = image([
    {
      tar: tar([{ path: "usr/" }, { path: "usr/a", data: "a".repeat(9000) }]),
      compression: "gzip",
    },
  ]);

  beforeAll(async () => {
    // gpg's sockets are in its home, and their paths must be short
    gnupg = mkdtempSync("/tmp/gpg-");
    home = join(scratch, "user");
    server = await RegistryServer.start();
    for (const blob of [one.config, ...one.layers]) server.blobs.set(blob.digest, blob.bytes);
    for (const key of [one.manifest.digest, "v1"]) server.manifests.set(key, one.manifest);
    mkdirSync(join(home, ".config/containers/registries.d"), { recursive: true });
    writeFileSync(
      join(home, ".config/containers/registries.d/default.yaml"),
      `default-docker:\n  lookaside: file://${scratch}/sigs\n  sigstore: file://${scratch}/sigs\n`,
    );
    obstacle = prepare();
  });
  afterAll(async () => {
    for (const child of children) child.kill();
    await server.close();
    spawnSync("gpgconf", ["--homedir", gnupg, "--kill", "all"]);
    rmSync(gnupg, { recursive: true, force: true });
  });
  beforeEach(async () => {
    repo = mkdtempSync(join(scratch, "repo-"));
    await run({}, "repo", "init", "--insecure", "--hash", "sha256");
  });

  /** Makes a key, and a signature of the image by it, for `signed:v1`. Returns why that cannot be done. */
  function prepare(): string | undefined {
    for (const tool of ["skopeo", "gpg"])
      if (spawnSync(tool, ["--version"]).status !== 0) return `${tool} is not installed`;
    const gpg = (...args: string[]) =>
      execFileSync("gpg", ["--homedir", gnupg, "--batch", "--quiet", ...args], {
        stdio: ["ignore", "pipe", "pipe"],
      });
    for (const name of ["good", "bad"]) {
      gpg(
        "--passphrase",
        "",
        "--quick-gen-key",
        `${name}@example.com`,
        "default",
        "default",
        "never",
      );
      writeFileSync(join(scratch, `${name}.gpg`), gpg("--export", `${name}@example.com`));
    }
    const fingerprint = /^fpr:+([0-9A-F]+):/m.exec(
      gpg("--with-colons", "--fingerprint", "good@example.com").toString(),
    )![1]!;
    writeFileSync(join(scratch, "manifest.json"), one.manifest.bytes);
    const [algorithm, hex] = one.manifest.digest.split(":");
    const directory = join(scratch, `sigs/signed@${algorithm}=${hex}`);
    mkdirSync(directory, { recursive: true });
    const args = [
      "standalone-sign",
      join(scratch, "manifest.json"),
      `${server.host}/signed:v1`,
      fingerprint,
      "--output",
      join(directory, "signature-1"),
    ];
    const env = { ...process.env, GNUPGHOME: gnupg };
    const { status, stderr } = spawnSync("skopeo", args, { env, encoding: "utf8" });
    return status === 0 ? undefined : `skopeo cannot sign here: ${stderr}`;
  }

  function needs(ctx: TestContext): void {
    if (obstacle !== undefined) ctx.skip(obstacle);
  }

  function setPolicy(scopes: Record<string, object[]>): void {
    const document = { default: reject, transports: { docker: scopes, dir: { "": accept } } };
    writeFileSync(join(home, ".config/containers/policy.json"), JSON.stringify(document));
  }

  function signedBy(name: string): object[] {
    return [{ type: "signedBy", keyType: "GPGKeys", keyPath: join(scratch, `${name}.gpg`) }];
  }

  /** Like the server, it must run beside this process, so it cannot be waited for synchronously. */
  async function run(env: NodeJS.ProcessEnv, ...args: string[]) {
    const child = spawn(process.execPath, [CFSBOOT, ...args, "--repo", repo], {
      env: { ...process.env, HOME: home, XDG_RUNTIME_DIR: scratch, GNUPGHOME: gnupg, ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const read = async (stream: NodeJS.ReadableStream) => {
      let text = "";
      for await (const chunk of stream.setEncoding("utf8")) text += chunk;
      return text;
    };
    const status = new Promise((resolve) => child.once("close", resolve));
    const [stdout, stderr] = await Promise.all([read(child.stdout), read(child.stderr)]);
    return { status: await status, stdout, stderr };
  }

  const pull = (name: string, env: NodeJS.ProcessEnv = {}) =>
    run(
      env,
      "image",
      "pull",
      `docker://${server.host}/${name}`,
      "--json",
      "--platform=linux/amd64",
    );

  test("a signed image, whose layers are fetched once", async (ctx) => {
    needs(ctx);
    setPolicy({ [`${server.host}/signed`]: signedBy("good") });
    server.requests.length = 0;
    const temporary = mkdtempSync(join(scratch, "temporary-"));
    const { status, stdout, stderr } = await pull("signed:v1", { TMPDIR: temporary });
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(JSON.parse(stdout)).toMatchObject({
      manifest_digest: one.manifest.digest,
      name: `docker://${server.host}/signed:v1`,
    });
    const layer = one.layers[0]!.digest;
    expect(server.requests.filter(({ path }) => path.includes(layer))).toHaveLength(1);
    expect(readdirSync(temporary)).toEqual([]);
  });

  test("one that is not signed, or by another, or under another name, is not taken (bootc#528, bootc#1636, bootc-operator#64)", async (ctx) => {
    needs(ctx);
    const attempt = async (name: string, key: string) => {
      setPolicy({ "": signedBy(key) });
      const { status, stdout, stderr } = await pull(name);
      expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
      const file = join(home, ".config/containers/policy.json");
      const where = `pull docker://${server.host}/${name}: ${file} (transport docker, scope "")`;
      expect(stderr).toContain(`cfsboot: error: ${where} demands signatures: skopeo copy: `);
      expect(JSON.parse((await run({}, "image", "list", "--json")).stdout)).toEqual({ images: [] });
      return stderr;
    };
    expect(await attempt("unsigned:v1", "good")).toContain("no signature exists");
    expect(await attempt("signed:v1", "bad")).toMatch(/rejected|[Ss]ignature/);
    server.manifests.set("v2", one.manifest);
    expect(await attempt("signed:v2", "good")).toContain("is not accepted");
  });

  test("of an image for several platforms, the one that is pulled must be signed", async (ctx) => {
    needs(ctx);
    const identity = { signedIdentity: { type: "matchRepository" } };
    setPolicy({ "": [{ ...signedBy("good")[0], ...identity }] });
    const foreign = image([{ tar: tar([{ path: "usr/" }]), compression: "none" }], {
      architecture: "riscv64",
    });
    server.manifests.set(foreign.manifest.digest, foreign.manifest);
    const images = [foreign, one].map((one, i) => ({
      image: one,
      platform: { os: "linux", architecture: ["riscv64", "amd64"][i]! },
    }));
    const index = { schemaVersion: 2, manifests: indexEntries(images) };
    server.addManifest(index, "application/vnd.oci.image.index.v1+json", "multi");
    const { status, stdout, stderr } = await pull("signed:multi");
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(JSON.parse(stdout).manifest_digest).toBe(one.manifest.digest);
    const url = `docker://${server.host}/signed:multi`;
    const other = await run({}, "image", "pull", url, "--platform=linux/riscv64");
    expect(other.stderr).toContain("no signature exists");
  });

  test("a tag that goes on to another image in the meantime is not followed", async (ctx) => {
    needs(ctx);
    setPolicy({ "": signedBy("good") });
    const evil = image([{ tar: tar([{ path: "usr/" }]), compression: "none" }]);
    for (const blob of [evil.config, ...evil.layers]) server.blobs.set(blob.digest, blob.bytes);
    server.intercept = (request) => {
      // skopeo sees the signed image, whoever asks next another one
      const ours = request.headers["user-agent"]?.startsWith("cfsboot/");
      server.manifests.set("v1", ours ? evil.manifest : one.manifest);
      return false;
    };
    try {
      const { status, stdout } = await pull("signed:v1");
      expect(status).toBe(0);
      expect(JSON.parse(stdout).manifest_digest).toBe(one.manifest.digest);
    } finally {
      server.intercept = () => false;
      server.manifests.set("v1", one.manifest);
    }
  });

  test("what is rejected is not even asked for", async () => {
    setPolicy({});
    server.requests.length = 0;
    const { status, stderr } = await pull("x:v1", { PATH: scratch });
    expect(status).toBe(1);
    expect(stderr).toContain("policy.json (default) rejects this image\n");
    expect(server.requests).toEqual([]);
  });

  test("without skopeo signatures cannot be checked, and only then it is missed", async () => {
    setPolicy({ "": signedBy("good"), [`${server.host}/free`]: accept });
    const { status, stderr } = await pull("signed:v1", { PATH: scratch });
    expect(status).toBe(1);
    expect(stderr).toMatch(
      /demands signatures: skopeo is not installed\nhint: install skopeo: it is needed for this image\n$/,
    );
    expect((await pull("free:v1", { PATH: scratch })).status).toBe(0);
  });

  test("a policy that cannot be read, or is none, lets nothing through", async (ctx) => {
    const file = join(home, ".config/containers/policy.json");
    writeFileSync(file, '{"default": [{"type": "insecureAcceptAnything"}], "oops": 1}');
    expect((await pull("x:v1")).stderr).toContain(`${file}: oops: not expected in a policy`);
    setPolicy({ "": accept });
    chmodSync(file, 0);
    try {
      if (process.getuid?.() === 0) ctx.skip("root can read every file");
      expect((await pull("x:v1")).stderr).toContain(file);
    } finally {
      chmodSync(file, 0o600);
    }
  });

  test("a layout that must be signed cannot be", async (ctx) => {
    needs(ctx);
    const layout = join(scratch, "layout");
    writeLayout(layout, [{ image: one, tag: "v1" }]);
    const document = {
      default: [{ ...signedBy("good")[0], signedIdentity: { type: "matchRepository" } }],
    };
    writeFileSync(join(home, ".config/containers/policy.json"), JSON.stringify(document));
    const { status, stderr } = await run({}, "image", "pull", `oci:${layout}:v1`);
    expect(status).toBe(1);
    expect(stderr).toContain("no signature exists");
    expect(readFileSync(join(layout, "index.json"), "utf8")).toContain(one.manifest.digest);
  });
});
