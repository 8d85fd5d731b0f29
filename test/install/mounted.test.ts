/** Installing into file systems that are mounted: in a mount namespace of its own, which only root may make. */
import { spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { osLayer } from "../deployment/machine.ts";
import { image, tar as tarOf, writeLayout } from "../oci/fixtures/images.ts";
import { partitionsOf } from "./disk-image.ts";

const CFSBOOT = join(import.meta.dirname, "../../dist/cfsboot.mjs");
const directory = mkdtempSync(join(tmpdir(), "cfsboot-mounted-"));
afterAll(() => rmSync(directory, { recursive: true }));

const boot = (mark: string) => Buffer.from(`#### LoaderInfo: ${mark} 257 ####`);
const canMount = spawnSync("unshare", ["--mount", "true"]).status === 0;

beforeAll(() => {
  const layout = join(directory, "layout");
  mkdirSync(layout);
  const program = {
    path: "usr/lib/systemd/boot/efi/systemd-bootx64.efi",
    data: boot("systemd-boot"),
  };
  const parents = ["usr/lib/systemd/", "usr/lib/systemd/boot/", "usr/lib/systemd/boot/efi/"];
  const files = [...parents.map((path) => ({ path })), program];
  const tar = osLayer({ version: "13", kargs: ["from-image", "kept"], files });
  const data = tarOf([{ path: "var/" }, { path: "var/seed", data: "of the image\n", uid: 7 }]);
  const layers = [tar, data].map((each) => ({ tar: each, compression: "none" as const }));
  writeLayout(layout, [{ image: image(layers), tag: "os" }]);
});

/** Runs the command on a root that is mounted only for it. */
function install(root: string, command: string, ...args: string[]) {
  return installWith("true", root, command, ...args);
}

/** The same with more mounts, which a script makes. */
function installWith(mounts: string, root: string, command: string, ...args: string[]) {
  mkdirSync(join(root, "efi"), { recursive: true });
  const bind = 'mount --bind "$0" "$0" && mount --bind "$0/efi" "$0/efi"';
  const script = `${bind} && ${mounts} && exec "$@"`;
  const cfsboot = [process.execPath, CFSBOOT, "install", command, root];
  const options = ["--source-imgref", `oci:${directory}/layout:os`, "--allow-missing-verity"];
  return spawnSync(
    "unshare",
    ["--mount", "sh", "-c", script, root, ...cfsboot, ...options, "--esp", `${root}/efi`, ...args],
    { encoding: "utf8" },
  );
}

describe("to-filesystem", { timeout: 180_000 }, () => {
  beforeEach((ctx) => {
    if (!canMount) ctx.skip("no mount namespace can be made here: that takes root");
  });

  const root = (name: string) => join(directory, name);
  const SPEC = ["--root-mount-spec", "LABEL=system"];

  test("an empty root gets a deployment, its ESP the boot loader and the menu; nothing is of ostree (bootc#1929, bootc#1953, bootc#2289, bootc#2304, bootc#2305)", () => {
    const path = root("empty");
    const { status, stderr, stdout } = install(path, "to-filesystem", ...SPEC, "--karg", "nosmt");
    expect({ status, stderr }).toMatchObject({ status: 0 });
    expect(stdout).toContain("image's own: root=LABEL=system rw nosmt\n");
    const [id] = readdirSync(join(path, "state/deploy"));
    const [entry] = readdirSync(join(path, "efi/loader/entries"));
    expect(readFileSync(join(path, "efi/loader/entries", entry!), "utf8")).toContain(
      `options root=LABEL=system rw nosmt composefs=?${id} from-image kept\n`,
    );
    const fallback = readFileSync(join(path, "efi/EFI/BOOT/BOOTX64.EFI"));
    expect(fallback.equals(boot("systemd-boot"))).toBe(true);
    expect(readFileSync(join(path, "efi/loader/random-seed"))).toHaveLength(32);
  });

  test("a file system that is mounted on /var becomes /var (bootc#336, bootc#1615, bootc#1728)", (ctx) => {
    const path = root("var");
    mkdirSync(join(path, "var"), { recursive: true });
    const disk = join(directory, "var.raw");
    writeFileSync(disk, "");
    truncateSync(disk, 16 << 20);
    const uuid = "01234567-89ab-4cde-8f01-23456789abcd";
    const sbin = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };
    spawnSync("mke2fs", ["-q", "-t", "ext4", "-U", uuid, disk], { env: sbin });
    const { stdout: loop, status: looped } = spawnSync("losetup", ["--find", "--show", disk], {
      encoding: "utf8",
      env: sbin,
    });
    if (looped !== 0) ctx.skip("there are no loop devices");
    try {
      const mounts = `mount ${loop.trim()} "$0/var"`;
      const { status, stderr, stdout } = installWith(mounts, path, "to-filesystem", ...SPEC);
      expect({ status, stderr }).toMatchObject({ status: 0 });
      expect(stdout).toContain(`/var is what is mounted on ${path}/var\n`);
      expect(stdout).toContain(
        `image's own: root=LABEL=system rw systemd.mount-extra=UUID=${uuid}:/var:ext4\n`,
      );
      expect(existsSync(join(path, "state/os/default/var/seed"))).toBe(false);
      const debugfs = (request: string) =>
        spawnSync("debugfs", ["-R", request, disk], { encoding: "utf8", env: sbin }).stdout;
      expect(debugfs("cat /seed")).toBe("of the image\n");
      expect(debugfs("stat /seed")).toMatch(/User: +7 /);
      expect(debugfs("ls -p /")).not.toContain("cfsboot-tmp");
    } finally {
      spawnSync("losetup", ["--detach", loop.trim()], { env: sbin });
      rmSync(disk);
    }
  });

  test("arguments come and go by configuration files, and by options (bootc#2539)", () => {
    const path = root("configured");
    const toml = (name: string, text: string) =>
      `printf '[install]\\n${text}\\n' > /run/bootc/install/${name}.toml`;
    const configured = [
      "mount -t tmpfs tmpfs /run && mkdir -p /run/bootc/install",
      toml("20-more", 'kargs = ["nosmt"]'),
      toml("10-first", 'kargs = ["first", "gone=1"]\\nkarg-deletes = ["from-image"]'),
    ].join(" && ");
    const options = ["--karg", "last=2", "--karg-delete", "gone=1"];
    const { status, stderr } = installWith(configured, path, "to-filesystem", ...SPEC, ...options);
    expect({ status, stderr }).toMatchObject({ status: 0 });
    const [entry] = readdirSync(join(path, "efi/loader/entries"));
    expect(readFileSync(join(path, "efi/loader/entries", entry!), "utf8")).toMatch(
      /^options root=LABEL=system rw first nosmt last=2 composefs=\?[0-9a-f]{128} kept$/m,
    );
  });

  test("the root is the same as in an image of a disk, made without a mount", (ctx) => {
    const path = root("mounted");
    mkdirSync(join(path, "boot"), { recursive: true });
    // sizes of directories are the file system's; notes of what is left to the first boot are only in the image
    const form = `'%P %y %m %U %G'`;
    const list = `find composefs state boot .bootc-aleph.json ! -name '*-at-first-boot' -printf ${form} '(' -type d -printf '\\n' -o -printf ' %s %l\\n' ')' | sort`;
    const found = (command: string, args: string[]) =>
      spawnSync(command, args, { encoding: "utf8", maxBuffer: 1 << 26 });
    const source = ["--source-imgref", `oci:${directory}/layout:os`];
    const options = [...source, "--size", "1G", "--esp-size", "100M", "--allow-missing-verity"];
    const disk = join(directory, "disk.raw");
    const offline = found(process.execPath, [CFSBOOT, "install", "to-disk", ...options, disk]);
    expect(offline).toMatchObject({ status: 0 });
    const start = `${partitionsOf(disk)[1]!.start * 512}`;
    const mount = `mkdir "$0.d" && mount -o loop,ro,offset=${start} "$0" "$0.d" && cd "$0.d"`;
    const made = found("unshare", ["--mount", "sh", "-c", `${mount} && ${list}`, disk]);
    rmSync(disk);
    if (made.status !== 0) ctx.skip(`it cannot be mounted here: ${made.stderr}`);
    const { status, stderr } = install(path, "to-filesystem", ...SPEC, "--replace", "alongside");
    expect({ status, stderr }).toMatchObject({ status: 0 });
    const mounted = found("sh", ["-c", `cd "$0" && ${list}`, path]);
    expect(mounted.stdout.split("\n").length).toBeGreaterThan(40);
    expect(made.stdout.split("\n")).toEqual(mounted.stdout.split("\n"));
  });

  test("a root that is not empty is refused, and nothing is written", () => {
    const path = root("full");
    mkdirSync(join(path, "data"), { recursive: true });
    const { status, stderr } = install(path, "to-filesystem", ...SPEC);
    expect({ status, stderr }).toEqual({
      status: 1,
      stderr: `cfsboot: error: ${path} is not empty: there is ${path}/data\nhint: --replace alongside installs beside what is there\n`,
    });
    expect(readdirSync(path).sort()).toEqual(["data", "efi"]);
  });

  test("alongside, everything that is there stays: files, another boot loader, its configuration (bootc#2323)", () => {
    const path = root("other");
    mkdirSync(join(path, "efi/EFI/BOOT"), { recursive: true });
    mkdirSync(join(path, "efi/loader"), { recursive: true });
    const shim = join(path, "efi/EFI/BOOT/BOOTX64.EFI");
    writeFileSync(shim, "shim");
    writeFileSync(join(path, "efi/loader/loader.conf"), "timeout 60\n");
    writeFileSync(join(path, "data"), "mine");
    const { status, stderr } = install(path, "to-filesystem", ...SPEC, "--replace", "alongside");
    expect({ status, stderr }).toMatchObject({ status: 0 });
    expect(stderr).toContain("EFI/BOOT has another boot loader, which stays");
    expect(readFileSync(shim, "utf8")).toBe("shim");
    expect(readFileSync(join(path, "efi/loader/loader.conf"), "utf8")).toBe("timeout 60\n");
    expect(readFileSync(join(path, "data"), "utf8")).toBe("mine");
    expect(existsSync(join(path, "efi/EFI/systemd/systemd-bootx64.efi"))).toBe(true);
  });

  test("to-existing-root takes the arguments about the root over from the system that runs", () => {
    const { status, stderr, stdout } = install(root("running"), "to-existing-root", "--dry-run");
    const own = readFileSync("/proc/cmdline", "utf8")
      .split(/\s+/)
      .find((karg) => karg.startsWith("root="));
    if (own === undefined) expect(stderr).toContain("--root-mount-spec does without");
    else
      expect({ status, stdout }).toMatchObject({ status: 0, stdout: expect.stringContaining(own) });
  });

  test("what is not mounted is refused", () => {
    const { status, stderr } = spawnSync(
      process.execPath,
      [CFSBOOT, "install", "to-filesystem", "--source-imgref", "oci:nothing", directory],
      { encoding: "utf8" },
    );
    expect({ status, stderr }).toEqual({
      status: 1,
      stderr: `cfsboot: error: ${directory} is not a mount point\n`,
    });
  });
});
