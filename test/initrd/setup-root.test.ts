import { readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  cannotMount,
  makePhysicalRoot,
  OBJECT,
  type PhysicalRoot,
  PROVIDERS,
  type Provider,
  type Result,
  removeAll,
  run,
  STACKING,
} from "./physical-root.ts";

const OTHER = "0f".repeat(32);
const blocked = cannotMount();

beforeEach((ctx) => {
  ctx.skip(blocked !== undefined, blocked);
});
afterEach(removeAll);

/** The mounts that make the new root, without the physical root that it lies on where the kernel wants it so. */
function newRoot(provider: Provider, result: Result): string[] {
  const [first, ...rest] = result.mounts;
  const stays = provider.env?.CFSBOOT_TEST_KERNEL !== undefined;
  const mounts = stays ? rest : result.mounts;
  if (stays) expect(first).toMatchObject({ at: "/", type: "ext4" });
  return mounts.map((m) => `${m.at} ${m.source} ${m.readOnly ? "ro" : "rw"}`);
}

function disk(result: Result): string {
  return result.mounts.find((m) => m.at === "/sysroot")!.source;
}

describe.each(PROVIDERS)("composefs-setup-root ($name)", (provider) => {
  test.each(["sha256", "sha512"] as const)("puts the root together (%s)", (hash) => {
    const root = makePhysicalRoot(hash);
    const before = readdirSync("/run").filter((name) => name.startsWith("composefs-"));
    const result = run(provider, root, {
      inspect: `cd "$SYSROOT"
        cat usr/object etc/conf var/kept; ls sysroot
        for d in . sysroot etc var; do touch $d/written && echo; done`,
    });
    expect(result.stderr).toBe("");
    expect(result.status).toBe(0);
    const from = disk(result);
    expect(newRoot(provider, result)).toEqual([
      `/ composefs:${root.digest} ro`,
      `/etc ${from} rw`,
      `/sysroot ${from} ro`,
      `/var ${from} rw`,
    ]);
    expect(result.seen).toBe(
      `${OBJECT}statekeptcomposefs\nstate\n${[".", "sysroot"]
        .map((dir) => `touch: cannot touch '${dir}/written': Read-only file system\n`)
        .join("")}\n\n`,
    );
    expect(readdirSync(join(root.state, "etc"))).toEqual(["conf", "written"]);
    expect(readdirSync(join(root.path, "state/os/default/var"))).toEqual(["kept", "written"]);
    expect(readdirSync("/run").filter((name) => name.startsWith("composefs-"))).toEqual(before);
    const like612 = provider.env?.CFSBOOT_TEST_KERNEL !== undefined;
    expect(result.stdout).toContain(
      [
        `image: composefs=?${root.digest}`,
        "fs-verity: not required (?), nothing is verified",
        like612 ? "mounted: EROFS" : "mounted: EROFS ",
      ].join("\n"),
    );
    if (like612) expect(result.stdout).toContain("overlay layers as strings\n");
    expect(result.stdout).toContain(
      [
        "/sysroot: the physical root, read-only",
        "/etc: bind of the deployment's state",
        "/var: bind of the deployment's state",
        `root: at ${root.path}, read-only\n`,
      ].join("\n"),
    );
  });

  test("everything shared, as systemd has it", () => {
    const root = makePhysicalRoot("sha256");
    const result = run(provider, root, { before: "mount --make-rshared /" });
    expect(result.stderr).toBe("");
    expect(newRoot(provider, result).map((line) => line.split(" ")[0])).toEqual([
      "/",
      "/etc",
      "/sysroot",
      "/var",
    ]);
  });

  test("in an initramfs /var becomes a unit, which others can require (bootc#2345)", () => {
    const root = makePhysicalRoot("sha256");
    const options = {
      before:
        "mount -t tmpfs none /etc; touch /etc/initrd-release; mount -t tmpfs none /run; mkdir -p /run/systemd/system",
      inspect: "cat /run/systemd/system/*",
    };
    const { stderr, stdout, seen } = run(provider, root, options);
    expect(stderr).toBe("");
    expect(stdout).toContain("/run/systemd/system/var.mount: written\n");
    expect(seen).toContain(
      `\n[Mount]\nWhat=/sysroot/state/deploy/${root.digest}/var\nWhere=/var\nOptions=bind\n`,
    );
    const conf = '[var]\nmount = "transient"\n';
    expect(run(provider, root, { ...options, conf }).seen).not.toContain("[Mount]");
  });

  describe("configuration", () => {
    const TOUCH = `cd "$SYSROOT"; ls -A etc var; stat -c %a,%g etc
      for d in . etc var; do touch $d/written 2>/dev/null && echo "$d written"; done`;
    const written = (root: PhysicalRoot) => ({
      etc: readdirSync(join(root.state, "etc")),
      var: readdirSync(join(root.path, "state/os/default/var")),
    });

    test("none: as in the image, read-only", () => {
      const root = makePhysicalRoot("sha256");
      rmSync(join(root.path, "state"), { recursive: true });
      const conf = '[etc]\nmount = "none"\n[var]\nmount = "root"\n';
      const result = run(provider, root, { conf, inspect: TOUCH });
      expect(result.stderr).toBe("");
      expect(newRoot(provider, result)).toHaveLength(2);
      expect(result.seen).toBe("etc:\nconf\n\nvar:\nnew\n751,7\n");
      expect(result.stdout).toContain("/etc: as in the image\n/var: as in the image\n");
    });

    test("overlay: the image's, changes kept", () => {
      const root = makePhysicalRoot("sha256");
      const conf = '[etc]\nmount = "overlay"\n[var]\nmount = "overlay"\n';
      const first = run(provider, root, { conf, inspect: TOUCH });
      expect(first.stderr).toBe("");
      expect(first.seen).toBe("etc:\nconf\n\nvar:\nnew\n751,7\netc written\nvar written\n");
      expect(newRoot(provider, first)).toEqual(
        expect.arrayContaining(["/etc overlay rw", "/var overlay rw"]),
      );
      expect(readdirSync(join(root.state, "etc/upper"))).toEqual(["written"]);
      expect(written(root).var).toEqual(["kept", "upper", "work"]);
      const second = run(provider, root, { conf, inspect: TOUCH });
      expect(second.seen).toContain("etc:\nconf\nwritten\n\nvar:\nnew\nwritten\n");
    });

    test.each(['mount = "transient"', 'mount = "volatile"', "transient = true"])(
      "%s: the image's, changes lost",
      (setting) => {
        const root = makePhysicalRoot("sha256");
        rmSync(join(root.path, "state"), { recursive: true });
        const conf = `[etc]\n${setting}\n[var]\n${setting}\n`;
        const result = run(provider, root, { conf, inspect: TOUCH });
        expect(result.stderr).toBe("");
        expect(result.seen).toBe("etc:\nconf\n\nvar:\nnew\n751,7\netc written\nvar written\n");
        expect(newRoot(provider, result)).toEqual(
          expect.arrayContaining(["/etc transient rw", "/var transient rw"]),
        );
      },
    );

    test("a transient root", () => {
      const root = makePhysicalRoot("sha256");
      const conf = "[root]\ntransient = true\n";
      const result = run(provider, root, {
        conf,
        inspect: `${TOUCH}; stat -c %a .; cat usr/object`,
      });
      expect(result.stderr).toBe("");
      const from = disk(result);
      expect(newRoot(provider, result)).toEqual([
        `/ transient:composefs=${root.digest} rw`,
        `/etc ${from} rw`,
        `/sysroot ${from} ro`,
        `/var ${from} rw`,
      ]);
      expect(result.seen).toBe(
        `etc:\nconf\n\nvar:\nkept\n755,0\n. written\netc written\nvar written\n755\n${OBJECT}`,
      );
      expect(result.stdout).toContain(`root: at ${root.path}, writable, changes are lost`);
      expect(written(root)).toEqual({ etc: ["conf", "written"], var: ["kept", "written"] });
    });

    test("a transient root with transient /etc and an overlay on /var", () => {
      const root = makePhysicalRoot("sha256");
      const conf =
        '[root]\ntransient = true\n[etc]\nmount = "transient"\n[var]\nmount = "overlay"\n';
      const result = run(provider, root, { conf, inspect: TOUCH });
      expect(result.stderr).toBe("");
      expect(result.seen).toBe(
        "etc:\nconf\n\nvar:\nnew\n751,7\n. written\netc written\nvar written\n",
      );
    });

    test("systemd.volatile=state leaves /var alone", () => {
      const root = makePhysicalRoot("sha256");
      const cmdline = `composefs=?${root.digest} systemd.volatile=state`;
      const result = run(provider, root, { cmdline });
      expect(newRoot(provider, result).map((line) => line.split(" ")[0])).toEqual([
        "/",
        "/etc",
        "/sysroot",
      ]);
    });

    test("the image through a loop device, which is freed with its last user", async () => {
      const root = makePhysicalRoot("sha256");
      const result = run(provider, root, {
        conf: '[cfsboot]\nerofs = "loop"\n',
        inspect: 'cat "$SYSROOT/usr/object"',
      });
      expect(result.stderr).toBe("");
      expect(result.seen).toBe(OBJECT);
      expect(result.stdout).toContain("mounted: EROFS through a loop device");
      const backing = () =>
        readdirSync("/sys/block")
          .filter((name) => name.startsWith("loop"))
          .map((name) => {
            try {
              return readFileSync(`/sys/block/${name}/loop/backing_file`, "utf8");
            } catch {
              return "";
            }
          })
          .join("");
      for (let i = 0; i < 50 && backing().includes(root.path); i++) {
        await new Promise((done) => setTimeout(done, 100));
      }
      expect(backing()).not.toContain(root.path);
    });

    test.each(["strings", "paths"])("layers as %s", (layers) => {
      const root = makePhysicalRoot("sha256");
      const result = run(provider, root, {
        conf: `[root]\ntransient = true\n[etc]\nmount = "overlay"\n[var]\nmount = "transient"\n[cfsboot]\nlayers = "${layers}"\n`,
        inspect: 'cat "$SYSROOT/usr/object"',
      });
      expect(result.stderr).toBe("");
      expect(result.seen).toBe(OBJECT);
      expect(result.stdout).toContain(`overlay layers as ${layers}\n`);
    });

    test("a key that means nothing is a warning, a wrong value an error", () => {
      const root = makePhysicalRoot("sha256");
      const warned = run(provider, root, { conf: "[usr]\nmount = 1\n" });
      expect(warned.status).toBe(0);
      expect(warned.stderr).toBe(
        "composefs-setup-root: warning: OUT/conf.toml, line 1: unknown: [usr]\n",
      );
      const refused = run(provider, root, { conf: '[etc]\nmount = "rw"\n' });
      expect(refused.status).toBe(1);
      expect(refused.stderr).toBe(
        'composefs-setup-root: error: OUT/conf.toml, line 2: mount in [etc] is "rw", expected one of "none", "root", "bind", "overlay", "transient", "volatile"\n',
      );
    });
  });

  describe("arguments", () => {
    test("the first image that is there", () => {
      const root = makePhysicalRoot("sha256");
      const cmdline = `composefs=${OTHER} composefs.digest=?v1-sha256-12:${root.digest} composefs=bad`;
      expect(run(provider, root, { cmdline: cmdline.replace(" composefs=bad", "") })).toMatchObject(
        { status: 0, stderr: "" },
      );
      expect(run(provider, root, { cmdline }).stderr).toMatch(
        "composefs-setup-root: error: malformed kernel argument composefs=bad: ",
      );
    });

    test("--target: the root elsewhere, the physical root as it was", () => {
      const root = makePhysicalRoot("sha256");
      const target = join(root.path, "..", `${root.digest.slice(0, 8)}-target`);
      const result = run(provider, root, {
        before: `mkdir -p ${target} && mount -t tmpfs target ${target} && mkdir ${target}/at`,
        args: ["--target", `${target}/at`],
        inspect: `cat ${target}/at/usr/object; ls "$SYSROOT"; umount -l ${target}; rmdir ${target}`,
        watch: target,
      });
      expect(result.stderr).toBe("");
      expect(result.seen).toBe(`${OBJECT}composefs\nstate\n`);
      expect(result.mounts.map((m) => m.at)).toEqual([
        "/",
        "/at",
        "/at/etc",
        "/at/sysroot",
        "/at/var",
      ]);
    });

    test("--root-fs: a directory instead of an image", () => {
      const root = makePhysicalRoot("sha256");
      rmSync(join(root.path, "composefs"), { recursive: true });
      const result = run(provider, root, {
        before: `cd "$OUT" && mkdir -p fs/etc fs/var fs/usr && mount -t tmpfs x fs/usr`,
        cmdline: `composefs=${OTHER} composefs=${root.digest}`,
        args: ["--root-fs=fs"],
        inspect: `cd "$SYSROOT"; ls`,
      });
      expect(result.stderr).toMatch(`no state directory ${root.path}/state/deploy/${OTHER}`);
      const found = run(provider, root, {
        before: `cd "$OUT" && mkdir -p fs/etc fs/var fs/usr/bin && mount --bind fs fs`,
        cmdline: `composefs=${root.digest}`,
        args: ["--root-fs=fs"],
        inspect: `cd "$SYSROOT"; ls . usr; cat etc/conf var/kept; touch x`,
      });
      expect(found.stderr).toBe("");
      expect(found.seen).toBe(
        ".:\netc\nusr\nvar\n\nusr:\nbin\nstatekepttouch: cannot touch 'x': Read-only file system\n",
      );
      expect(found.stdout).toContain("root file system: the directory fs, nothing is verified\n");
    });

    test("a command is executed when everything is mounted", () => {
      const root = makePhysicalRoot("sha256");
      const result = run(provider, root, {
        args: ["--", "cat", `${root.path}/usr/object`],
      });
      expect(result.stdout.endsWith(`read-only\n${OBJECT}`)).toBe(true);
      const missing = run(provider, root, { args: ["/no/such"] });
      expect(missing.status).toBe(1);
      expect(missing.stderr).toBe(
        "composefs-setup-root: error: execute /no/such: execve /no/such: No such file or directory\n",
      );
    });

    test.each([
      [["--bogus"], "unknown option --bogus"],
      [["-x"], "unknown option -x"],
      [["--target"], "--target needs a value"],
      [["--sysroot="], "--sysroot needs a value"],
    ])("wrong usage: %j", (args, message) => {
      const root = makePhysicalRoot("sha256");
      const result = run(provider, root, { args });
      expect(result.status).toBe(2);
      expect(result.stderr).toBe(
        `composefs-setup-root: error: ${message}\nhint: composefs-setup-root --help\n`,
      );
      expect(result.mounts).toHaveLength(1);
    });

    test("--help", () => {
      const root = makePhysicalRoot("sha256");
      const result = run(provider, root, { args: ["--help"] });
      expect(result.status).toBe(0);
      expect(result.stdout).toMatch(/^usage: composefs-setup-root /);
      for (const line of result.stdout.split("\n")) expect(line.length).toBeLessThan(100);
    });
  });

  describe("refuses, and leaves the mounts as they were", () => {
    function refused(root: PhysicalRoot, options: Parameters<typeof run>[2]): string {
      const result = run(provider, root, options);
      expect(result.status).toBe(1);
      expect(result.stdout).not.toContain("root: at");
      expect(result.mounts.map((m) => m.at)).toEqual(["/"]);
      return result.stderr.replaceAll(root.digest, "DIGEST").replaceAll(root.path, "ROOT");
    }

    test("an image on a file system without fs-verity", () => {
      const root = makePhysicalRoot("sha256");
      const error = refused(root, { cmdline: `composefs=${root.digest}` });
      expect(error).toMatch(
        /^composefs-setup-root: error: image of composefs=DIGEST: (fs-verity is required, but (this kernel|the file system of ROOT\/composefs \(or this kernel\)) has none|the image has no fs-verity: ROOT\/composefs\/images\/DIGEST)\nhint: .*, or boot without any verification: put \? after the =\n$/,
      );
    });

    test("an image that is not there", () => {
      const root = makePhysicalRoot("sha256");
      expect(refused(root, { cmdline: `composefs=?${OTHER}` })).toBe(
        `composefs-setup-root: error: no such image in ROOT/composefs: composefs=?${OTHER}\nhint: images there: DIGEST\n`,
      );
    });

    test("a command line without an image", () => {
      const root = makePhysicalRoot("sha256");
      expect(refused(root, { cmdline: "ro quiet" })).toBe(
        "composefs-setup-root: error: no composefs= or composefs.digest= on the kernel command line\n",
      );
    });

    test("something that is no image", () => {
      const root = makePhysicalRoot("sha256");
      const image = join(root.path, "composefs/images", root.digest);
      writeFileSync(image, "x".repeat(8192));
      expect(refused(root, {})).toMatch(
        /^composefs-setup-root: error: mount image of composefs=\?DIGEST: erofs: (create|kernel: .*): fsconfig .*: Invalid argument\n$/,
      );
    });

    test("a deployment without state, or with only a part of it", () => {
      const root = makePhysicalRoot("sha256");
      const shared = join(root.path, "state/os/default/var");
      rmSync(shared, { recursive: true });
      expect(refused(root, {})).toBe(
        "composefs-setup-root: error: /var (bind): no state directory ROOT/state/deploy/DIGEST/var (a link to ../../os/default/var): openat2 state/deploy/DIGEST/var: No such file or directory\n",
      );
      rmSync(join(root.state, "etc"), { recursive: true });
      expect(refused(root, {})).toBe(
        "composefs-setup-root: error: /etc (bind): no state directory ROOT/state/deploy/DIGEST/etc: openat2 state/deploy/DIGEST/etc: No such file or directory\n",
      );
      rmSync(root.state, { recursive: true });
      expect(refused(root, {})).toBe(
        "composefs-setup-root: error: /etc (bind): no state directory ROOT/state/deploy/DIGEST: openat2 state/deploy/DIGEST: No such file or directory\nhint: the image is in the repository, but no deployment of it on this disk\n",
      );
    });

    test("an image without /etc", () => {
      const root = makePhysicalRoot("sha256", ["/etc"]);
      expect(refused(root, {})).toBe(
        "composefs-setup-root: error: the image has no directory /etc\n",
      );
    });
  });

  test("an image without /sysroot has none", () => {
    const root = makePhysicalRoot("sha256", ["/sysroot"]);
    const result = run(provider, root, {});
    expect(result.stderr).toBe("");
    expect(result.mounts.map((m) => m.at)).not.toContain("/sysroot");
    expect(result.stdout).toContain("/sysroot: the image has no such directory, left out\n");
  });

  test("links in the state directory stay within the physical root", () => {
    const root = makePhysicalRoot("sha256");
    rmSync(join(root.state, "var"));
    symlinkSync("../../../../../../../../state/os/default/var", join(root.state, "var"));
    expect(run(provider, root, { inspect: 'cat "$SYSROOT/var/kept"' }).seen).toBe("kept");
    rmSync(join(root.state, "etc"), { recursive: true });
    symlinkSync("/etc", join(root.state, "etc"));
    expect(run(provider, root, {}).stderr).toMatch("no state directory");
  });

  test("a mount that is read-only: nothing is written, the state is writable", () => {
    const root = makePhysicalRoot("sha256");
    const result = run(provider, root, {
      before: 'mount -o remount,bind,ro "$SYSROOT"',
      inspect: 'touch "$SYSROOT/etc/x" && echo ok',
    });
    expect(result.stderr).toBe("");
    expect(result.seen).toBe("ok\n");
    expect(readdirSync(join(root.path, "composefs"))).toEqual(["images", "objects"]);
  });

  test("a file system that is read-only boots with /etc read-only, and refuses an overlay there", () => {
    const root = makePhysicalRoot("sha256");
    // of its own, so that it can be read-only altogether
    const before =
      'cp -a "$SYSROOT" "$OUT/disk" && truncate -s 16M "$OUT/img" && mke2fs -q -t ext4 -d "$OUT/disk" "$OUT/img" && umount "$SYSROOT" && mount -o loop,ro "$OUT/img" "$SYSROOT"';
    const inspect = 'cat "$SYSROOT/etc/conf"; touch "$SYSROOT/etc/x"';
    const result = run(provider, root, { before, inspect });
    expect(result.stderr).toBe("");
    expect(result.seen).toMatch(/^statetouch: .*: Read-only file system\n$/);
    expect(result.stdout).toContain(
      "/etc: bind of the deployment's state, read-only as the physical root is (rw makes both writable)\n",
    );
    const overlay = run(provider, root, { before, conf: '[etc]\nmount = "overlay"\n' });
    expect(overlay.stderr).toBe(
      "composefs-setup-root: error: /etc (overlay): an overlay needs a writable physical root, which is mounted read-only\nhint: put rw on the kernel command line\n",
    );
  });
});

test("an overlay that the kernel refuses on an image from its file is tried on a loop device", () => {
  for (const conf of ["[root]\ntransient = true\n", '[etc]\nmount = "overlay"\n']) {
    const root = makePhysicalRoot("sha256");
    const result = run(STACKING, root, { conf, inspect: 'cat "$SYSROOT/usr/object"' });
    expect(result.stderr).toBe("");
    expect(result.seen).toBe(OBJECT);
    expect(result.stdout).toContain("mounted: EROFS through a loop device");
    expect(result.mounts.filter((m) => m.at === "/")).toHaveLength(1);
    const forced = run(STACKING, root, { conf: `${conf}[cfsboot]\nerofs = "file"\n` });
    expect(forced.status).toBe(1);
  }
});
