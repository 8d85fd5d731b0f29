/** A disk in a file, made by a user who is not root, of images from wherever they come. */
import { spawn, spawnSync } from "node:child_process";
import { chmodSync, chownSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { osLayer } from "../deployment/machine.ts";
import { type Image, image, tar, writeLayout } from "../oci/fixtures/images.ts";
import { RegistryServer } from "../oci/fixtures/registry-server.ts";
import { extract, partitionsOf, run } from "./disk-image.ts";

const CFSBOOT = join(import.meta.dirname, "../../dist/cfsboot.mjs");

/** Somebody who may use other IDs: in `/etc/subuid`; not root. */
const user = readFileSync("/etc/passwd", "utf8")
  .split("\n")
  .map((line) => line.split(":"))
  .map(([name = "", , uid = "", gid = ""]) => ({ name, uid: Number(uid), gid: Number(gid) }))
  .find(({ name, uid }) => uid !== 0 && subordinates().includes(name));

function subordinates(): string[] {
  try {
    return readFileSync("/etc/subuid", "utf8")
      .split("\n")
      .map((line) => line.split(":")[0] ?? "");
  } catch {
    return [];
  }
}

const directory = mkdtempSync(join(tmpdir(), "cfsboot-sources-"));
const layout = join(directory, "layout");
let os: Image;
afterAll(() => rmSync(directory, { recursive: true }));

beforeAll(() => {
  mkdirSync(layout);
  const first = osLayer({ version: "13" });
  const data = tar([{ path: "var/" }, { path: "var/seed", data: "of the image\n", uid: 7 }]);
  os = image([first, data].map((each) => ({ tar: each, compression: "gzip" })));
  writeLayout(layout, [{ image: os, tag: "os" }]);
  if (user === undefined) return;
  chmodSync(directory, 0o755);
  chownSync(directory, user.uid, user.gid);
});

/** Runs a program as that user. */
function asUser(
  name: string,
  ...args: string[]
): Promise<{ status: number | null; stderr: string }> {
  if (user === undefined) throw new Error("there is no such user");
  const who = [`--reuid=${user.uid}`, `--regid=${user.gid}`, "--clear-groups"];
  const env = {
    PATH: `${process.env.PATH}:/usr/sbin:/sbin`,
    HOME: directory,
    CONTAINERS_REGISTRIES_CONF: "/dev/null",
  };
  const child = spawn("setpriv", [...who, "--", name, ...args], { env, cwd: directory });
  let stderr = "";
  child.stderr.on("data", (chunk) => {
    stderr += chunk;
  });
  child.stdout.resume();
  return new Promise((done, fail) => {
    child.on("error", fail);
    child.on("close", (status) => done({ status, stderr }));
  });
}

describe("a user who is not root installs", { timeout: 180_000 }, () => {
  beforeEach((ctx) => {
    if (process.geteuid?.() !== 0) ctx.skip("not root: nobody else can be played");
    if (user === undefined) ctx.skip("nobody has IDs in /etc/subuid");
    if (spawnSync("newuidmap").error !== undefined) ctx.skip("there is no newuidmap");
  });

  async function install(source: string, ...args: string[]): Promise<void> {
    const disk = join(directory, "disk.raw");
    const size = ["--size", "1G", "--esp-size", "100M", "--bootloader", "none"];
    const options = ["--source-imgref", source, ...size, ...args];
    const { status, stderr } = await asUser(
      process.execPath,
      ...[CFSBOOT, "install", "to-disk", ...options, disk],
    );
    expect({ status, stderr }).toEqual({ status: 0, stderr: expect.not.stringContaining("error") });
    const root = extract(disk, partitionsOf(disk)[1]!, directory, "root");
    try {
      run("e2fsck", "-fn", root);
      const debugfs = (request: string) => run("debugfs", "-R", request, root);
      const seed = debugfs("stat /state/os/default/var/seed");
      expect(seed).toMatch(/User: +7 +Group: +0 /);
      expect(debugfs("stat /composefs/meta.json")).toMatch(/User: +0 +Group: +0 /);
      expect(debugfs("ls -p /state/deploy")).toMatch(/\/[0-9a-f]{128}\//);
    } finally {
      rmSync(root);
      rmSync(disk);
    }
  }

  test("from an oci-archive", async () => {
    const archive = join(directory, "os.tar");
    run("tar", "-C", layout, "-cf", archive, ".");
    await install(`oci-archive:${archive}`);
  });

  test("from a registry", async () => {
    const server = await RegistryServer.start();
    try {
      for (const { digest, bytes } of [os.config, ...os.layers]) server.blobs.set(digest, bytes);
      server.manifests.set("os", os.manifest);
      await install(`docker://${server.host}/os:os`, "--tls-verify=false");
    } finally {
      await server.close();
    }
  });

  test("from the containers' storage of that user", async (ctx) => {
    if (spawnSync("skopeo", ["--version"]).error !== undefined) ctx.skip("there is no skopeo");
    const store = `containers-storage:[overlay@${directory}/store+${directory}/run]localhost/os:13`;
    const policy = ["--insecure-policy", "copy"];
    const { status, stderr } = await asUser("skopeo", ...policy, `oci:${layout}:os`, store);
    expect({ status, stderr }).toMatchObject({ status: 0 });
    await install(store);
  });
});
