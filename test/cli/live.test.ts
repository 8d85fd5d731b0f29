/**
 * The commands on the machine that they run on: in a mount namespace whose root is mounted from composefs, with a physical root
 * and `/boot` as GRUB has it.
 */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  closeSync,
  cpSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { LOCK_EX } from "../../src/linux/constants.ts";
import type { HostStatus } from "../../src/model/host-status.ts";
import { linux } from "../../userspace/linux.ts";
import { TestMachine } from "../deployment/machine.ts";
import { publishIn } from "./publish.ts";

const PROGRAM = join(import.meta.dirname, "../../dist/cfsboot.mjs");

/** Directories of this system that the program needs. */
const HERE = ["usr", "bin", "sbin", "lib", "lib64", "proc", "dev", "sys", "tmp"];

/** Enters the machine and runs the program there. `$1`: its directory, `$2`: what the root is mounted from. */
const ENTER = `
set -e
mkdir -p "$1/new"
mount -t tmpfs "$2" "$1/new"
cd "$1/new"
mkdir -p sysroot run etc boot old program
for name in ${HERE.join(" ")}; do
  if [ -L "/$name" ]; then cp -P "/$name" .; elif [ -d "/$name" ]; then mkdir "$name"; mount --rbind "/$name" "$name"; fi
done
mount --bind "$1/sysroot" sysroot
mount -o remount,bind,ro sysroot
mount --bind "$1/run" run
mount --bind "$1/root/etc" etc
if [ -f "$1/boot.img" ]; then
  mount -o loop "$1/boot.img" boot
  mount -o remount,ro,nosuid,noexec boot # not at once: the loop device would be read-only
fi
mount --bind "$4" program
mkdir -p ".$(dirname "$3")"
pivot_root . old
user=$5
shift 5
cd /
exec setpriv --reuid "$user" "$@"
`;

function enter(machine: TestMachine, id: string, ...args: string[]) {
  return enterAs("0", machine, id, ...args);
}

function enterAs(user: string, machine: TestMachine, id: string, ...args: string[]) {
  const { status, stdout, stderr } = spawnSync("unshare", entering(user, machine, id, args), {
    encoding: "utf8",
    env: environment(machine),
  });
  return { status, stdout, stderr };
}

function entering(user: string, machine: TestMachine, id: string, args: readonly string[]) {
  return [
    ...["-m", "--propagation", "private", "sh", "-c", ENTER, "sh"],
    ...[machine.path, `composefs:${id}`, process.execPath, join(PROGRAM, ".."), user],
    ...[`/old${process.execPath}`, "/program/cfsboot.mjs", ...args],
  ];
}

function environment(machine: TestMachine) {
  return { PATH: `${machine.path}/stubs:${process.env.PATH}` };
}

/** Puts what is on the ESP where GRUB reads it. */
function toGrub({ path }: TestMachine): void {
  const boot = join(path, "sysroot/boot");
  mkdirSync(boot);
  for (const name of readdirSync(join(path, "esp/EFI/Linux"))) {
    cpSync(join(path, "esp/EFI/Linux", name), join(boot, name), { recursive: true });
  }
  renameSync(join(path, "esp/loader"), join(boot, "loader"));
  const entries = join(boot, "loader/entries");
  for (const name of readdirSync(entries)) {
    const text = readFileSync(join(entries, name), "utf8");
    writeFileSync(join(entries, name), text.replaceAll("/EFI/Linux/", "/boot/"));
  }
}

/** Programs that only note how they were called. */
function stub(machine: TestMachine, ...names: string[]): void {
  const directory = join(machine.path, "stubs");
  mkdirSync(directory);
  for (const name of names) {
    const script = `#!/bin/sh\necho "${name} $*" >> "${machine.path}/calls"\n`;
    writeFileSync(join(directory, name), script, { mode: 0o755 });
  }
}

test("upgrade, finalize, rollback, pin and karg of the machine itself", async (ctx) => {
  if (linux.geteuid() !== 0) return ctx.skip("not root: nothing can be mounted");
  using machine = new TestMachine();
  const name = publishIn(machine.path, { version: "1" });
  const reference = { transport: "oci", name, signature: undefined } as const;
  const first = await machine.stage({ version: "1" }, { counted: false, reference });
  machine.boot();
  toGrub(machine);
  stub(machine, "systemctl", "systemd-run");
  const run = (...args: string[]) => {
    const { status, stdout, stderr } = enter(machine, first, ...args);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    return stdout;
  };
  const look = () => JSON.parse(run("status", "--json")) as HostStatus;

  const probe = enter(machine, first, "status");
  if (probe.status === null) return ctx.skip("there is no unshare on this machine");
  if (/Operation not permitted|permission denied/.test(probe.stderr)) {
    return ctx.skip("this container may not mount");
  }
  expect(look()).toMatchObject({
    status: { booted: { composefs: { verity: first, bootloader: "grub" } }, readOnly: false },
    cfsboot: { deployments: [{ slot: "booted", damage: [] }], warnings: [] },
  });
  expect(machine.names("run")).toEqual([]); // to look leaves no trace

  // who is not root sees what runs, and is told so
  chmodSync(machine.repositoryPath, 0o700);
  chmodSync(machine.path, 0o755);
  const seen = enterAs("65534", machine, first, "status", "--json");
  expect(seen).toMatchObject({ status: 0, stderr: "" });
  expect(JSON.parse(seen.stdout)).toMatchObject({
    spec: { image: { image: name, transport: "oci" } },
    status: {
      booted: {
        image: { image: { image: name }, imageDigest: expect.stringMatching(/^sha256:/) },
        composefs: { verity: first },
      },
      staged: null,
    },
    cfsboot: { deployments: [], warnings: [expect.stringContaining("only root can see the rest")] },
  });
  expect(enterAs("65534", machine, first, "status", "--format", "humanreadable").stdout).toMatch(
    /^● Booted image: oci:.*\n {8}Digest: sha256:[0-9a-f]{64} \(\w+\)\n {8}Verity: [0-9a-f]{64}\n\nonly root /,
  );
  chmodSync(machine.state(first), 0o700); // then not even that
  expect(enterAs("65534", machine, first, "status", "--format", "humanreadable").stdout).toMatch(
    /^● Booted composefs\n {12}Commit: [0-9a-f]{64}\n\nonly root /,
  );
  chmodSync(machine.state(first), 0o755);
  for (const command of [["karg", "list"], ["diff"], ["gc", "--dry-run"]]) {
    expect(enterAs("65534", machine, first, ...command)).toMatchObject({
      status: 1,
      stderr:
        "cfsboot: error: only root can see the deployments: openat /sysroot/composefs: Permission denied\nhint: sudo cfsboot …\n",
    });
  }
  expect(enterAs("65534", machine, first, "rollback")).toMatchObject({
    status: 1,
    stderr: expect.stringContaining("only root may change what is booted"),
  });

  publishIn(machine.path, { version: "2" });
  expect(run("upgrade", "--apply")).toMatch(/^Queued for next boot: oci:/);
  const calls = machine.read("calls").split("\n");
  expect(calls).toContain("systemctl start --quiet cfsboot-finalize-staged.service");
  expect(calls.at(-2)).toBe(
    "systemd-run --quiet -- systemctl reboot --message=Initiated by cfsboot",
  );
  const [staged] = look().cfsboot.deployments;
  expect(staged).toMatchObject({ slot: "staged", index: 0, damage: [] });

  writeFileSync(machine.etc("hostname"), "mine\n");
  expect(run("finalize-staged")).toBe(`Next boot: ${staged!.id.slice(0, 12)}\n`);
  expect(machine.read(`sysroot/state/deploy/${staged!.id}/etc/hostname`)).toBe("mine\n");
  expect(look().status.rollbackQueued).toBe(true);
  run("rollback", first.slice(0, 12));
  expect(look().status.rollbackQueued).toBe(false);

  run("pin", "booted");
  run("karg", "add", "quiet");
  expect(look().cfsboot.deployments).toMatchObject([
    { slot: "booted", pinned: true, localKargs: { added: ["quiet"] } },
    { slot: "rollback", pinned: false, localKargs: { added: [] } },
  ]);
  expect(machine.read("sysroot/boot/loader/entries/cfsboot.cfg")).toContain(" 'quiet'\n");
});

test("one command at a time changes the deployments; to look, none waits", async (ctx) => {
  if (linux.geteuid() !== 0) return ctx.skip("not root: nothing can be mounted");
  using machine = new TestMachine();
  const first = await machine.stage({ version: "1" }, { counted: false });
  machine.boot();
  toGrub(machine);
  const probe = enter(machine, first, "pin", "booted");
  if (/not permitted|permission denied/i.test(probe.stderr)) {
    return ctx.skip("this container may not mount");
  }
  expect(probe).toMatchObject({ status: 0, stderr: "" });
  const lock = openSync(join(machine.path, "run/composefs/cfsboot.lock"), "r+");
  linux.flock(lock, LOCK_EX);
  expect(enter(machine, first, "status", "--json")).toMatchObject({ status: 0, stderr: "" });
  const waiting = spawn("unshare", entering("0", machine, first, ["unpin", "booted"]), {
    env: environment(machine),
    stdio: ["ignore", "ignore", "pipe"],
  });
  const [said] = await once(waiting.stderr.setEncoding("utf8"), "data");
  expect(said).toBe("waiting for another process that changes deployments\n");
  const isPinned = () =>
    readFileSync(machine.state(first, `${first}.origin`), "utf8").includes("pinned");
  expect({ ended: waiting.exitCode, pinned: isPinned() }).toEqual({ ended: null, pinned: true });
  closeSync(lock);
  expect(await once(waiting, "close")).toEqual([0, null]);
  expect(isPinned()).toBe(false);
});

test("as long as an editor is open, other commands change the deployments", async (ctx) => {
  if (linux.geteuid() !== 0) return ctx.skip("not root: nothing can be mounted");
  using machine = new TestMachine();
  const first = await machine.stage({ version: "1" }, { counted: false });
  machine.boot();
  toGrub(machine);
  // fails if somebody has the lock
  const env = { ...environment(machine), EDITOR: "flock -n /run/composefs/cfsboot.lock true" };
  const { status, stdout, stderr } = spawnSync("unshare", entering("0", machine, first, ["edit"]), {
    encoding: "utf8",
    env,
  });
  if (/not permitted|permission denied/i.test(stderr)) {
    return ctx.skip("this container may not mount");
  }
  expect({ status, stdout, stderr }).toEqual({
    ...{ status: 0, stdout: "Edit cancelled, no changes made.\n", stderr: "" },
  });
});

test("the repository of the machine is repaired, tagged and collected, though its disk is mounted read-only", async (ctx) => {
  if (linux.geteuid() !== 0) return ctx.skip("not root: nothing can be mounted");
  using machine = new TestMachine();
  const name = join(machine.path, "layout:os"); // where the machine pulls from
  const reference = { transport: "oci", name, signature: undefined } as const;
  const first = await machine.stage({ version: "1" }, { counted: false, reference });
  machine.boot();
  mkdirSync(join(machine.path, "sysroot/boot"));
  const run = (...args: string[]) => enter(machine, first, ...args);
  const probe = run("repo", "info");
  if (/not permitted|permission denied/i.test(probe.stderr)) {
    return ctx.skip("this container may not mount");
  }
  const objects = join(machine.repositoryPath, "objects");
  const [object] = readdirSync(objects, { recursive: true, withFileTypes: true })
    .filter((one) => one.isFile())
    .map((one) => join(one.parentPath, one.name))
    .filter((path) => readFileSync(path).includes("kernel"));
  const content = readFileSync(object!);
  writeFileSync(object!, Buffer.alloc(content.length));
  expect(run("repo", "fsck")).toMatchObject({ status: 1 });
  expect(readFileSync(object!).equals(content)).toBe(false);
  expect(run("repo", "fsck", "--repair")).toMatchObject({
    status: 0,
    stdout: expect.stringContaining("repaired"),
  });
  expect(readFileSync(object!).equals(content)).toBe(true);

  const digest = /sha256:[0-9a-f]{64}/.exec(run("image", "list", "--json").stdout)![0];
  expect(run("image", "tag", `@${digest}`, "kept")).toMatchObject({ status: 0, stderr: "" });
  expect(run("image", "untag", "kept")).toMatchObject({ status: 0, stderr: "" });
  expect(run("repo", "gc")).toMatchObject({ status: 0, stderr: "" });
});

test("a /boot of its own is that, mounted read-only as bootc mounts it, whatever is in that of the root (bootc#2399, bootc#2440)", async (ctx) => {
  if (linux.geteuid() !== 0) return ctx.skip("not root: nothing can be mounted");
  using machine = new TestMachine("grub");
  const name = publishIn(machine.path, { version: "1" });
  const reference = { transport: "oci", name, signature: undefined } as const;
  const first = await machine.stage({ version: "1" }, { counted: false, reference });
  machine.boot();
  const image = join(machine.path, "boot.img");
  const made = spawnSync("mkfs.ext4", ["-q", "-d", join(machine.path, "esp"), image, "64M"]);
  if (made.status !== 0) return ctx.skip("there is no mkfs.ext4");
  // what the installer left below the mount point
  mkdirSync(join(machine.path, "sysroot/boot/loader/entries"), { recursive: true });
  stub(machine, "systemctl");

  const seen = enter(machine, first, "status", "--json");
  if (/mount.*(failed|permitted|loop)/.test(seen.stderr)) return ctx.skip("no loop devices here");
  expect(seen).toMatchObject({ status: 0, stderr: "" });
  expect(JSON.parse(seen.stdout)).toMatchObject({ cfsboot: { deployments: [{ slot: "booted" }] } });

  publishIn(machine.path, { version: "2", kernel: "7.0" });
  expect(enter(machine, first, "upgrade")).toMatchObject({ status: 0, stderr: "" });
  expect(enter(machine, first, "finalize-staged")).toMatchObject({ status: 0, stderr: "" });
  const { cfsboot } = JSON.parse(enter(machine, first, "status", "--json").stdout) as HostStatus;
  expect(cfsboot.deployments).toMatchObject([
    { slot: "rollback", next: true, damage: [] },
    { slot: "booted", damage: [] },
  ]);
  expect(machine.names("sysroot/boot/loader/entries")).toEqual([]);
});

test("usr-overlay makes /usr writable, once (bootc#1582)", (ctx) => {
  if (linux.geteuid() !== 0) return ctx.skip("not root: nothing can be mounted");
  using machine = new TestMachine();
  mkdirSync(join(machine.path, "sysroot/boot"));
  const { status, stdout, stderr } = enter(machine, "ab".repeat(32), "usr-overlay");
  if (/not permitted/.test(stderr)) return ctx.skip("this container may not mount");
  expect(enter(machine, "ab".repeat(32), "usr-overlay", "--dry-run").stdout).toBe(
    "mount a read/write overlayfs on /usr, until the next boot\n",
  );
  const told = enter(machine, "ab".repeat(32), "usr-overlay", "--read-only", "--json").stdout;
  expect(JSON.parse(told)).toEqual({
    ...{ version: 1, dryRun: false, changed: true, deployments: [], rebootRequired: null },
    steps: [{ do: "mount-usr-overlay", accessMode: "readOnly" }],
  });
  expect({ status, stdout }).toEqual({
    status: 0,
    stdout:
      "A read/write overlayfs is now mounted on /usr\nAll changes there will be discarded on reboot.\n",
  });
});
