/** podman and buildah beside ours: what they build, push and save is pulled; what we copy, they pull. */
import { type ChildProcess, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { startDockerRegistry } from "../oci/fixtures/docker-registry.ts";
import { cfsboot } from "./cfsctl.ts";

const EXPECTED_DUMP = join(import.meta.dirname, "../oci/fixtures/expected-dump.py");

/** Two layers: hard links, attributes, a device, large and small files; then removals and a directory made anew. */
const BUILD = `
c=$(buildah $storage from scratch)
m=$(buildah $storage mount $c)
cd $m
mkdir -p usr/bin usr/lib etc run boot sysroot opt/emptied
seq 20000 > usr/bin/large; ln usr/bin/large usr/lib/linked; ln -s ../bin/large usr/lib/link
echo small > etc/small; echo gone > etc/gone; echo old > opt/emptied/old; mkfifo etc/fifo
chmod 4755 usr/bin/large; chown 1000:2000 etc/small; printf x > "etc/with space"
setfattr -n user.test -v value usr/bin/large || true
cd /
buildah $storage umount $c > /dev/null
buildah $storage commit -q $c localhost/base:1 > /dev/null
c=$(buildah $storage from localhost/base:1)
m=$(buildah $storage mount $c)
cd $m
rm etc/gone; rm -r opt/emptied; mkdir opt/emptied; echo new > opt/emptied/new; seq 5000 > usr/lib/more
ln usr/bin/large usr/bin/again; chmod 700 opt
cd /
buildah $storage umount $c > /dev/null
buildah $storage commit -q --format oci $c localhost/os:oci > /dev/null
buildah $storage commit -q --format docker $c localhost/os:docker > /dev/null
podman $storage save -q --format oci-dir -o $scratch/oci localhost/os:oci
podman $storage save -q --format oci-archive -o $scratch/oci.tar localhost/os:oci
podman $storage save -q --format docker-archive -o $scratch/docker.tar localhost/os:docker
podman $storage save -q --format docker-dir -o $scratch/dir localhost/os:docker
`;

let scratch: string;
let host: string;
let registry: ChildProcess | undefined;
let obstacle: string | undefined;

/** Runs a script in a mount namespace of its own: the tools leave mounts behind. */
function shell(script: string): string {
  const root = join(scratch, "storage");
  const storage = `--root=${root}/root --runroot=${root}/run --storage-driver=overlay`;
  const { status, stdout, stderr } = spawnSync("unshare", ["-m", "sh", "-ec", script], {
    encoding: "utf8",
    env: { ...process.env, storage, scratch, host, TMPDIR: scratch },
    timeout: 120_000,
  });
  if (status !== 0) throw new Error(`exit status ${status}: ${stdout}${stderr}`);
  return stdout;
}

beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), "podman-"));
  const missing = ["podman", "buildah", "docker-registry", "python3"].find(
    (tool) => spawnSync("sh", ["-c", `command -v ${tool}`]).status !== 0,
  );
  if (missing !== undefined) obstacle = `${missing} is not installed`;
  else if (process.getuid?.() !== 0) obstacle = "podman's store of this test needs root";
  if (obstacle !== undefined) return;
  try {
    shell("podman $storage info");
  } catch (error) {
    obstacle = `podman does not work here: ${(error as Error).message.trim().split("\n").at(-1)}`;
    return;
  }
  ({ host, child: registry } = await startDockerRegistry(scratch));
  shell(BUILD);
  cfsboot(join(scratch, "repo"), "repo", "init", "--insecure", "--hash", "sha256");
}, 180_000);
afterAll(async () => {
  const running = registry;
  if (running?.exitCode === null) {
    const ended = new Promise((resolve) => running.once("exit", resolve));
    if (running.kill()) await ended;
  }
  rmSync(scratch, { recursive: true, force: true });
});
beforeEach((ctx) => {
  if (obstacle !== undefined) ctx.skip(obstacle);
});

/** Pulls an image into a repository of its own, so that nothing of it is there already; returns its tree. */
function treeOf(source: string): string {
  const repository = mkdtempSync(join(scratch, "repository-"));
  cfsboot(repository, "repo", "init", "--insecure", "--hash", "sha256");
  cfsboot(repository, "image", "pull", source, "x", "--bootable");
  expect(cfsboot(repository, "repo", "fsck")).toMatch(/^status: ok$/m);
  return cfsboot(repository, "image", "dump", "x");
}

const expectedTree = () =>
  spawnSync("python3", [EXPECTED_DUMP, join(scratch, "oci"), "localhost/os:oci"], {
    encoding: "utf8",
  });

test("what podman saves has, in every format, the tree that Python reads from its layers", () => {
  const { stdout, stderr } = expectedTree();
  expect(stderr).toBe("");
  expect(stdout).toMatch(/^\/opt\/emptied\/new /m);
  expect(stdout).not.toMatch(/old|gone/);
  expect(stdout).toContain("/usr/bin/large 0 @120000 - - - - 0.0 /usr/bin/again - -\n");
  for (const source of ["oci:oci", "oci-archive:oci.tar", "docker-archive:docker.tar", "dir:dir"]) {
    const tree = treeOf(source.replace(":", `:${scratch}/`));
    expect({ source, tree }).toEqual({ source, tree: stdout });
  }
});

test.each([
  ["oci", "gzip"],
  ["oci", "zstd"],
  ["v2s2", "gzip"],
])("what podman pushes to a registry: %s, %s", (format, compression) => {
  const name = `${host}/${format}/${compression}:1`;
  const options = `-q --tls-verify=false --format=${format} --compression-format=${compression}`;
  shell(`podman $storage push ${options} localhost/os:oci docker://${name}`);
  expect(treeOf(`docker://${name}`)).toBe(expectedTree().stdout);
});

test("what we copy to a registry or a layout, podman pulls, and mounts as the same tree", () => {
  const repository = join(scratch, "repo");
  cfsboot(repository, "image", "pull", `oci-archive:${join(scratch, "oci.tar")}`, "os");
  cfsboot(repository, "image", "copy", "os", `docker://${host}/copied:1`);
  mkdirSync(join(scratch, "out"));
  cfsboot(repository, "image", "copy", "os", `oci:${join(scratch, "out/layout")}:1`);
  const list = "find . ! -type d -printf '%p %m %U %G %s %l %y %n\\n' | sort";
  const trees = ["localhost/os:oci", `${host}/copied:1`, "oci:layout:1"].map((name, i) =>
    shell(`cd $scratch/out; name=${name}
        ${i === 0 ? "" : `name=$(podman $storage pull -q --tls-verify=false ${name})`}
        cd $(podman $storage image mount $name); ${list}; find . -type f | sort | xargs -d '\\n' sha256sum`),
  );
  expect(trees[0]).toContain("./usr/bin/again 4755 0 0 108894 ");
  expect(trees[1]).toBe(trees[0]);
  expect(trees[2]).toBe(trees[0]);
});

test("what stands in podman's own store", () => {
  const location = `[overlay@${scratch}/storage/root+${scratch}/storage/run]`;
  expect(treeOf(`containers-storage:${location}localhost/os:oci`)).toBe(expectedTree().stdout);
});
