/** Real Debian systems boot from composefs images, or refuse to. What is asserted is what the booted system says. */
import { copyFileSync, mkdtempSync, readlinkSync, rmSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, type TestContext, test } from "vitest";
import { CACHE } from "./harness/cache.ts";
import { debugfs, flipBit, quoted } from "./harness/ext4.ts";
import { answer, LOOK, mountAt } from "./harness/observations.ts";
import { type Boot, type Booted, boot, plain } from "./harness/qemu.ts";
import { type Deployment, type DiskKind, deployment, disk } from "./harness/systems.ts";

const SEALED: DiskKind = { sealed: true };
const CONF = "usr/lib/composefs/setup-root-conf.toml";

type Options = Omit<Boot, "disk" | "kernel" | "initramfs" | "append"> & {
  readonly disk?: string;
  readonly append: readonly string[];
};

async function bootDeployment(from: Deployment, options: Options): Promise<Booted> {
  return boot({
    kernel: from.kernel,
    initramfs: from.initramfs,
    ...options,
    disk: options.disk ?? (await disk(from, SEALED)),
  });
}

/** A copy of a disk that the test may change. */
function copyOf(image: string, { onTestFinished }: TestContext): string {
  const directory = mkdtempSync(join(CACHE, "test-"));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  const copy = join(directory, "disk");
  copyFileSync(image, copy);
  return copy;
}

/** The root is the image, verified and read-only, with the physical root below it. */
function expectVerifiedRoot(booted: Booted, digest: string): void {
  const root = mountAt(booted, "/");
  expect(root).toMatchObject({ type: "overlay", source: `composefs:${digest}` });
  expect(root.options).toContain("ro");
  expect(root.superOptions).toEqual(
    expect.arrayContaining(["verity=require", "metacopy=on", "redirect_dir=on"]),
  );
  expect(JSON.parse(answer(booted, "findmnt"))).toMatchObject({
    filesystems: [{ target: "/", source: `composefs:${digest}`, fstype: "overlay" }],
  });
  expect(answer(booted, "setup")).toMatch(
    `measured ${digest.length === 128 ? "sha512" : "sha256"}:${digest}`,
  );
  expect(booted.answers.rootWrite).toMatchObject({ status: 1 });
  expect(answer(booted, "rootWrite")).toMatch("Read-only file system");
  const sysroot = mountAt(booted, "/sysroot");
  expect(sysroot).toMatchObject({ type: "ext4", source: "/dev/vda" });
  expect(sysroot.options).toContain("ro");
  expect(answer(booted, "sysrootWrite")).toMatch("Read-only file system");
}

/** Nothing was mounted: the emergency target came, and the console says why. */
function expectRefused(booted: Booted): string {
  const text = plain(booted.console);
  expect(text).toMatch(/Failed to start composefs-setup-/);
  expect(text).toMatch("Reached target emergency.target");
  expect(text).not.toMatch("Reached target initrd-root-fs.target");
  const lines = text.split("\n");
  const at = lines.findIndex((line) => line.includes("composefs-setup-root: error: "));
  expect(at, text).toBeGreaterThanOrEqual(0);
  return lines.slice(at, at + 2).join("\n");
}

describe("Debian 13, Linux 6.12", () => {
  test("boots with fs-verity sha512 required, and keeps /etc and /var", async (context) => {
    const trixie = await deployment("trixie", "sha512");
    const machine = {
      disk: copyOf(await disk(trixie, SEALED), context),
      persistent: true,
      append: [`composefs=${trixie.digest}`],
      powerOff: "clean",
    } as const;
    const first = await bootDeployment(trixie, {
      ...machine,
      name: "sha512",
      target: "multi-user",
      checks: {
        ...LOOK,
        failed: "systemctl --failed --plain --no-legend",
        measured: `fsverity measure /sysroot/composefs/images/${trixie.digest}`,
        write: "echo kept-in-etc > /etc/written && echo kept-in-var > /var/lib/written",
        machineId: "cat /etc/machine-id",
        etcMode: "stat -c '%a %U' /etc && find /etc/shadow /etc/gshadow -perm /007",
        same: "cmp /etc/passwd /sysroot/state/deploy/*/etc/passwd",
        journal: "mkdir /var/log/journal && journalctl --flush && ls /var/log/journal/*/*.journal",
      },
    });
    // the journal is on /var, and leaves it (bootc#2345)
    expect(first.answers.journal).toMatchObject({ status: 0 });
    expect(plain(first.console)).toMatch("Unmounted var.mount");
    expect(plain(first.console)).not.toMatch("Failed unmounting");
    expectVerifiedRoot(first, trixie.digest);
    expect(answer(first, "kernel")).toMatch(/^6\.12\./);
    expect(answer(first, "osRelease")).toMatch('PRETTY_NAME="Debian GNU/Linux 13 (trixie)"');
    expect(answer(first, "measured")).toMatch(`sha512:${trixie.digest} `);
    expect(answer(first, "failed")).toBe("");
    expect(first.answers.same).toEqual({ status: 0, output: "" });
    expect(answer(first, "etcMode")).toBe("755 root");
    expect(mountAt(first, "/etc")).toMatchObject({
      type: "ext4",
      root: `/state/deploy/${trixie.digest}/etc`,
    });
    expect(mountAt(first, "/etc").options).toContain("rw");
    expect(mountAt(first, "/var")).toMatchObject({ type: "ext4", root: "/state/os/default/var" });
    expect(mountAt(first, "/var").options).toContain("rw");

    const second = await bootDeployment(trixie, {
      ...machine,
      name: "sha512-again",
      checks: {
        etc: "cat /etc/written",
        var: "cat /var/lib/written",
        machineId: "cat /etc/machine-id",
      },
    });
    expect(answer(second, "etc")).toBe("kept-in-etc");
    expect(answer(second, "var")).toBe("kept-in-var");
    expect(answer(second, "machineId")).toMatch(/^[0-9a-f]{32}$/);
    expect(answer(second, "machineId")).toBe(answer(first, "machineId"));
  });

  test("boots with fs-verity sha256 required, and a /var of its own", async () => {
    const trixie = await deployment("trixie", "sha256");
    const booted = await bootDeployment(trixie, {
      name: "sha256",
      append: [`composefs=${trixie.digest}`, "systemd.mount-extra=tmpfs:/var:tmpfs"],
      checks: LOOK,
    });
    expect(trixie.digest).toHaveLength(64);
    expectVerifiedRoot(booted, trixie.digest);
    expect(mountAt(booted, "/var")).toMatchObject({ type: "tmpfs" });
  });

  test("boots what composefs.digest= names, before a composefs= that is unknown", async () => {
    const trixie = await deployment("trixie", "sha512");
    const booted = await bootDeployment(trixie, {
      name: "digest-first",
      append: [`composefs.digest=v1-sha512-12:${trixie.digest}`, `composefs=${"0".repeat(128)}`],
      checks: LOOK,
    });
    expectVerifiedRoot(booted, trixie.digest);
    expect(answer(booted, "setup")).toMatch(
      `image: composefs.digest=v1-sha512-12:${trixie.digest}`,
    );
  });

  test("boots the ways of older kernels, loop device and paths, and the second karg when the first is unknown", async () => {
    const trixie = await deployment("trixie", "sha512");
    const booted = await bootDeployment(trixie, {
      name: "loop",
      append: [`composefs=${"0".repeat(128)}`, `composefs.digest=v1-sha512-12:${trixie.digest}`],
      initramfsFiles: { [CONF]: '[cfsboot]\nerofs = "loop"\nlayers = "paths"\n' },
      checks: { ...LOOK, loop: "cat /sys/block/loop0/loop/backing_file; cat /sys/block/loop0/ro" },
    });
    expectVerifiedRoot(booted, trixie.digest);
    expect(answer(booted, "setup")).toMatch("EROFS through a loop device, overlay layers as paths");
    expect(booted.answers.loop?.status).toBe(0);
    expect(answer(booted, "loop")).toMatch(/composefs\/objects\/.*\n1$/);
  });

  test("boots without fs-verity where composefs=? allows it", async () => {
    const trixie = await deployment("trixie", "sha512");
    const booted = await bootDeployment(trixie, {
      name: "insecure",
      disk: await disk(trixie, { sealed: false }),
      append: [`composefs=?${trixie.digest}`],
      checks: {
        ...LOOK,
        measured: `fsverity measure /sysroot/composefs/images/${trixie.digest}`,
      },
    });
    const root = mountAt(booted, "/");
    expect(root).toMatchObject({ type: "overlay", source: `composefs:${trixie.digest}` });
    expect(root.superOptions.filter((option) => option.startsWith("verity"))).toEqual([]);
    expect(answer(booted, "rootWrite")).toMatch("Read-only file system");
    expect(booted.answers.measured?.status).toBe(1);
  });

  test("boots a repository without meta.json, and does not write one", async () => {
    const trixie = await deployment("trixie", "sha512");
    const booted = await bootDeployment(trixie, {
      name: "no-meta-json",
      disk: await disk(trixie, { sealed: true, metaJson: false }),
      append: [`composefs=${trixie.digest}`],
      checks: { ...LOOK, list: "ls -A1 /sysroot/composefs" },
    });
    expectVerifiedRoot(booted, trixie.digest);
    expect(answer(booted, "list").split("\n")).toEqual(["images", "objects", "streams"]);
  });

  test("root.transient: the whole root takes writes, and forgets them", async (context) => {
    const trixie = await deployment("trixie", "sha512");
    const machine = {
      disk: copyOf(await disk(trixie, SEALED), context),
      persistent: true,
      append: [`composefs=${trixie.digest}`],
      initramfsFiles: { [CONF]: "[root]\ntransient = true\n" },
    };
    const booted = await bootDeployment(trixie, {
      ...machine,
      name: "transient-root",
      checks: {
        ...LOOK,
        mode: "stat -c '%a %U' /",
        read: "echo changed > /usr/lib/os-release && cat /usr/lib/os-release",
        etc: "touch /etc/kept && echo kept",
      },
    });
    const root = mountAt(booted, "/");
    expect(root).toMatchObject({ type: "overlay", source: `transient:composefs=${trixie.digest}` });
    expect(root.options).toContain("rw");
    expect(booted.answers.rootWrite).toEqual({ status: 0, output: "" });
    expect(answer(booted, "mode")).toBe("755 root");
    expect(answer(booted, "read")).toBe("changed");
    expect(answer(booted, "sysrootWrite")).toMatch("Read-only file system");
    expect(mountAt(booted, "/etc")).toMatchObject({ type: "ext4" });

    const again = await bootDeployment(trixie, {
      ...machine,
      name: "transient-root-again",
      checks: { new: "test -e /usr/new", osRelease: LOOK.osRelease, kept: "test -e /etc/kept" },
    });
    expect(again.answers.new?.status).toBe(1);
    expect(answer(again, "osRelease")).toMatch("Debian");
    expect(again.answers.kept?.status).toBe(0);
  });

  test("/etc as an overlay keeps only what was changed, below the deployment's state", async (context) => {
    const trixie = await deployment("trixie", "sha512");
    const machine = {
      disk: copyOf(await disk(trixie, SEALED), context),
      persistent: true,
      append: [`composefs=${trixie.digest}`],
      initramfsFiles: { [CONF]: '[etc]\nmount = "overlay"\n' },
    };
    const booted = await bootDeployment(trixie, {
      ...machine,
      name: "etc-overlay",
      checks: {
        ...LOOK,
        write: "echo kept > /etc/written && echo other > /etc/hostname",
        upper: `cd /sysroot/state/deploy/${trixie.digest}/etc/upper && cat written hostname && test ! -e passwd`,
      },
    });
    expectVerifiedRoot(booted, trixie.digest);
    expect(mountAt(booted, "/etc")).toMatchObject({ type: "overlay" });
    expect(mountAt(booted, "/etc").options).toContain("rw");
    expect(booted.answers.upper).toEqual({ status: 0, output: "kept\nother" });

    const again = await bootDeployment(trixie, {
      ...machine,
      name: "etc-overlay-again",
      checks: { etc: "cat /etc/written /etc/hostname && test -s /etc/passwd" },
    });
    expect(again.answers.etc).toEqual({ status: 0, output: "kept\nother" });
  });

  test("/etc transient forgets what was written, /var does not", async (context) => {
    const trixie = await deployment("trixie", "sha512");
    const machine = {
      disk: copyOf(await disk(trixie, SEALED), context),
      persistent: true,
      append: [`composefs=${trixie.digest}`],
      initramfsFiles: { [CONF]: "[etc]\ntransient = true\n" },
    };
    const booted = await bootDeployment(trixie, {
      ...machine,
      name: "etc-transient",
      checks: {
        ...LOOK,
        mode: "stat -c '%a %U' /etc",
        write: "echo x > /etc/written && cat /etc/written && echo y > /var/lib/written",
      },
    });
    expectVerifiedRoot(booted, trixie.digest);
    expect(mountAt(booted, "/etc")).toMatchObject({ type: "overlay", source: "transient" });
    expect(booted.answers.write).toEqual({ status: 0, output: "x" });
    expect(answer(booted, "mode")).toBe("755 root");

    const again = await bootDeployment(trixie, {
      ...machine,
      name: "etc-transient-again",
      checks: { etc: "test -e /etc/written", var: "cat /var/lib/written" },
    });
    expect(again.answers.etc?.status).toBe(1);
    expect(answer(again, "var")).toBe("y");
  });

  test("an object with one flipped bit gives EIO for its file, and for no other", async (context) => {
    const trixie = await deployment("trixie", "sha512");
    const victim = "/usr/share/common-licenses/GPL-3";
    const changed = copyOf(await disk(trixie, SEALED), context);
    flipBit(changed, join("/composefs", trixie.files.object(victim)), 5000);
    const booted = await bootDeployment(trixie, {
      name: "object-tampered",
      disk: changed,
      append: [`composefs=${trixie.digest}`],
      checks: {
        ...LOOK,
        // every file of the image is read
        unreadable: "find / -xdev -type f -print0 | xargs -0 cat 2>&1 >/dev/null",
        count: "find / -xdev -type f | wc -l",
      },
    });
    expectVerifiedRoot(booted, trixie.digest);
    expect(answer(booted, "unreadable")).toBe(`cat: ${victim}: Input/output error`);
    expect(Number(answer(booted, "count"))).toBeGreaterThan(1000);
    expect(plain(booted.console)).toMatch("FILE CORRUPTED");
  });

  test("an image with one flipped bit is refused", async (context) => {
    const trixie = await deployment("trixie", "sha512");
    const changed = copyOf(await disk(trixie, SEALED), context);
    // in the superblock: of what nothing reads, nothing is noticed
    flipBit(changed, `/composefs/${imageObject(trixie)}`, 1030);
    const booted = await bootDeployment(trixie, {
      name: "image-tampered",
      disk: changed,
      append: [`composefs=${trixie.digest}`],
    });
    const message = expectRefused(booted);
    expect(message).toMatch(`mount image of composefs=${trixie.digest}`);
    expect(plain(booted.console)).toMatch("FILE CORRUPTED");
  });

  test("another image under the name of the right one is refused, both digests named", async (context) => {
    const trixie = await deployment("trixie", "sha512");
    const changed = copyOf(await disk(trixie, SEALED), context);
    const other = trixie.files.object("/usr/lib/os-release");
    const link = quoted(`/composefs/images/${trixie.digest}`);
    debugfs(changed, [`rm ${link}`, `symlink ${link} ${quoted(`../${other}`)}`]);
    const booted = await bootDeployment(trixie, {
      name: "image-replaced",
      disk: changed,
      append: [`composefs=${trixie.digest}`],
    });
    const found = other.slice("objects/".length).replace("/", "");
    expect(expectRefused(booted)).toMatch(
      `wrong image: its fs-verity digest is ${found}, expected ${trixie.digest}`,
    );
  });

  test("an image without fs-verity is refused unless the karg has a ?", async () => {
    const trixie = await deployment("trixie", "sha512");
    const booted = await bootDeployment(trixie, {
      name: "image-unsealed",
      disk: await disk(trixie, { sealed: false }),
      append: [`composefs=${trixie.digest}`],
    });
    expect(expectRefused(booted)).toMatch("fs-verity is required");
  });

  test("a digest that no image has is refused, and the images that there are named", async () => {
    const trixie = await deployment("trixie", "sha512");
    const booted = await bootDeployment(trixie, {
      name: "no-such-image",
      append: [`composefs=${"0".repeat(128)}`],
    });
    const message = expectRefused(booted);
    expect(message).toMatch(`no such image in /sysroot/composefs: composefs=${"0".repeat(128)}`);
    expect(message).toMatch(trixie.digest);
  });
});

describe("Debian sid, Linux 7, dracut 112", () => {
  test("boots with fs-verity sha512 required, overlay layers given as file descriptors", async () => {
    const sid = await deployment("sid", "sha512");
    const booted = await bootDeployment(sid, {
      name: "sid",
      append: [`composefs=${sid.digest}`],
      target: "multi-user",
      checks: { ...LOOK, failed: "systemctl --failed --plain --no-legend" },
    });
    expectVerifiedRoot(booted, sid.digest);
    const [major = 0] = answer(booted, "kernel").split(".").map(Number);
    expect(major).toBeGreaterThanOrEqual(7);
    expect(answer(booted, "setup")).toMatch("EROFS from its file, overlay layers as fds");
    expect(answer(booted, "failed")).toBe("");
    expect(mountAt(booted, "/etc")).toMatchObject({ root: `/state/deploy/${sid.digest}/etc` });
  });

  test("boots with a transient root, /etc as an overlay and /var transient", async () => {
    const sid = await deployment("sid", "sha512");
    const booted = await bootDeployment(sid, {
      name: "sid-overlays",
      append: [`composefs=${sid.digest}`],
      initramfsFiles: {
        [CONF]: '[root]\ntransient = true\n[etc]\nmount = "overlay"\n[var]\nmount = "transient"\n',
      },
      checks: {
        ...LOOK,
        write: "echo 1 > /etc/written && echo 2 > /var/lib/written && echo 3 > /usr/lib/written",
        read: "cat /etc/written /var/lib/written /usr/lib/written",
        upper: `cat /sysroot/state/deploy/${sid.digest}/etc/upper/written`,
        lower: "ls /sysroot/state/os/default/var/lib/written",
      },
    });
    expect(mountAt(booted, "/")).toMatchObject({
      type: "overlay",
      source: `transient:composefs=${sid.digest}`,
    });
    expect(mountAt(booted, "/etc")).toMatchObject({ type: "overlay" });
    expect(mountAt(booted, "/var")).toMatchObject({ type: "overlay", source: "transient" });
    expect(answer(booted, "read")).toBe("1\n2\n3");
    expect(answer(booted, "upper")).toBe("1");
    expect(answer(booted, "lower")).toMatch("No such file");
    expect(answer(booted, "sysrootWrite")).toMatch("Read-only file system");
  });
});

/** Path of the image's object, relative to the repository. */
function imageObject({ repository, digest }: Deployment): string {
  return join("images", readlinkSync(join(repository, "images", digest)));
}
