/** `cfsboot container`, in directories that are an image's root file system, or nearly. */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { bootedKernel, containerKargs } from "../../userspace/container/kernels.ts";
import { lint, listLints } from "../../userspace/container/lint.ts";
import { Rootfs } from "../../userspace/container/rootfs.ts";
import { linux } from "../../userspace/linux.ts";
import { spawn } from "../cli/on-machine.ts";
import { cpio, initramfsFiles } from "../formats/cpio-archive.ts";

const INITRAMFS = "usr/lib/modules/6.12/initramfs.img";
let root: string;

function write(path: string | Buffer, data: string | Uint8Array = "content\n"): void {
  const name = path.toString("latin1");
  mkdirSync(join(root, dirname(name)), { recursive: true });
  const at =
    typeof path === "string" ? join(root, path) : Buffer.concat([Buffer.from(`${root}/`), path]);
  writeFileSync(at, data);
}

const mkdir = (path: string) => mkdirSync(join(root, path), { recursive: true });

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "cfsboot-rootfs-"));
  for (const name of ["boot/EFI", "dev", "etc", "proc", "run", "sys", "sysroot", "tmp", "var/log"])
    mkdir(name);
  symlinkSync("/run", join(root, "var/run"));
  write("etc/hostname");
  write(
    "usr/lib/tmpfiles.d/var.conf",
    "# as systemd's\nd /var/log 0755 - - -\nL! /var/run - - - - ../run\n",
  );
  write("usr/lib/modules/6.12/vmlinuz");
  write(INITRAMFS, cpio(initramfsFiles("6.12")));
  write("usr/lib/bootc/kargs.d/10.toml", 'kargs = ["quiet", "a=b"]\n');
});
afterEach(() => rmSync(root, { recursive: true }));

/** What is found, as `level lint`. */
function found(skip: readonly string[] = []): string[] {
  using rootfs = new Rootfs(linux, root);
  return lint(rootfs, "amd64", new Set(skip)).map((one) => `${one.level} ${one.lint}`);
}

test("nothing is found in an image that has all of it", () => {
  expect(found()).toEqual([]);
});

test.each<[string, () => void, string[]]>([
  [
    "/var/run",
    () => {
      rmSync(join(root, "var/run"));
      mkdir("var/run");
    },
    ["error var-run"],
  ],
  ["an empty /etc/resolv.conf", () => write("etc/resolv.conf", ""), ["warning buildah-injected"]],
  ["/usr/etc", () => mkdir("usr/etc"), ["error etc-usretc"]],
  [
    "wrong kernel arguments",
    () => write("usr/lib/bootc/kargs.d/2.toml", "x"),
    ["error bootc-kargs"],
  ],
  ["two kernels", () => write("usr/lib/modules/6.13/vmlinuz"), ["error kernel"]],
  ["no kernel", () => rmSync(join(root, "usr/lib/modules/6.12/vmlinuz")), ["error kernel"]],
  ["no initramfs", () => rmSync(join(root, INITRAMFS)), ["error kernel"]],
  ["a name that is no text", () => write(Buffer.from([0x61, 0xff])), ["error utf8"]],
  [
    "a target that is no text",
    () => symlinkSync(Buffer.from([0xfe]), join(root, "usr/link")),
    ["error utf8"],
  ],
  ["no /tmp", () => rmSync(join(root, "tmp"), { recursive: true }), ["error api-base-directories"]],
  [
    "no /sysroot",
    () => rmSync(join(root, "sysroot"), { recursive: true }),
    ["error baseimage-root"],
  ],
  ["a log", () => write("var/log/dpkg.log"), ["warning var-log", "warning var-tmpfiles"]],
  ["a directory in /var", () => mkdir("var/lib/app"), ["warning var-tmpfiles"]],
  [
    "a user whom sysusers.d does not make",
    () => write("etc/passwd", "app:x:999:999::/:/bin/sh\n"),
    ["warning sysusers"],
  ],
  ["files in /boot", () => write("boot/vmlinuz"), ["warning nonempty-boot"]],
  ["files in /tmp", () => write("tmp/x"), ["warning nonempty-run-tmp"]],
  ["a broken initramfs", () => write(INITRAMFS, "x"), ["error initramfs"]],
  [
    "an initramfs without EROFS",
    () => {
      const files = initramfsFiles("6.12").filter(({ name }) => !name.includes("erofs"));
      write(INITRAMFS, cpio(files));
      write("usr/lib/modules/6.12/modules.builtin", "kernel/fs/ext4/ext4.ko\n");
    },
    ["error erofs"],
  ],
])("%s is told, and can be left out", (_, change, expected) => {
  change();
  expect(found()).toEqual(expected);
  expect(found(expected.map((one) => one.split(" ")[1]!))).toEqual([]);
});

test("as JSON, with the same exit status", () => {
  write("tmp/x");
  const run = (...args: string[]) => {
    const { status, stdout } = spawn("container", "lint", "--json", "--rootfs", root, ...args);
    return { status, document: JSON.parse(stdout) };
  };
  const document = {
    version: 1,
    checks: listLints().length,
    errors: 0,
    warnings: 1,
    found: [
      { lint: "nonempty-run-tmp", level: "warning", message: expect.stringContaining("/tmp") },
    ],
  };
  expect(run()).toEqual({ status: 0, document });
  expect(run("--fatal-warnings")).toEqual({ status: 1, document });
  expect(run("--list").document).toContainEqual({
    name: "kernel",
    level: "error",
    what: "there is one kernel, with its initramfs",
  });
});

/** What one check says. */
function saidBy(name: string): string[] {
  using rootfs = new Rootfs(linux, root);
  return lint(rootfs, "amd64", new Set()).flatMap(({ lint, message }) =>
    lint === name ? message : [],
  );
}

test("of /var only what tmpfiles.d does not make is told, by whatever path that names it, and once for all below it", () => {
  mkdir("var/home/user");
  mkdir("var/lib/app/cache/deep");
  mkdir("var/lib/made");
  mkdir("var/spool/copied/deep");
  mkdir("var/roothome/.ssh");
  symlinkSync("var/roothome", join(root, "root"));
  symlinkSync("../lib/made", join(root, "var/spool/link"));
  write("var/lib/made/file");
  write(
    "usr/lib/tmpfiles.d/app.conf",
    `d /var/lib\nd "/var/lib/made" 0755 root root -\nz /var/lib/app\nq /var/home\nd /var/roothome\n` +
      "d /root/.ssh 0700\nd /var/spool/\nC+ /var/spool/copied - - - - /usr/share/copied\nd /var/home/%b\n",
  );
  write("usr/lib/tmpfiles.d/hidden.conf", "d /var/home/user\n");
  write("etc/tmpfiles.d/hidden.conf", "");
  expect(saidBy("var-tmpfiles").sort()).toEqual([
    "/var/home/user: no line of tmpfiles.d makes it",
    "/var/lib/app: no line of tmpfiles.d makes it",
    "/var/lib/made/file is no directory and no symlink: only new installations get it",
    "/var/spool/link: no line of tmpfiles.d makes it",
  ]);
});

test("users and groups that sysusers.d makes are those of its lines, and the group that each user has", () => {
  write(
    "usr/lib/sysusers.d/basic.conf",
    'u root 0 "Super User" /root\nu! _apt 42:65534\ng kvm -\nm app disk\nr - 500-900\n',
  );
  write(
    "etc/passwd",
    "root:x:0:0::/root:/bin/sh\n_apt:x:42::::\napp:x:1:1:::\nother:x:2:2:::\n+::::::\n",
  );
  write("etc/group", "root:x:0:\nkvm:x:5:\ndisk:x:6:\nother:x:2:\n");
  expect(saidBy("sysusers")).toEqual([
    "/etc/passwd: no line of sysusers.d makes the user other",
    "/etc/group: no line of sysusers.d makes the group other",
  ]);
});

test("every check has a name of its own", () => {
  const names = listLints().map(({ name }) => name);
  expect(new Set(names).size).toBe(names.length);
});

test("symlinks do not lead out of the image", () => {
  rmSync(join(root, "usr/lib/bootc"), { recursive: true });
  const outside = mkdtempSync(join(tmpdir(), "cfsboot-outside-"));
  try {
    writeFileSync(join(outside, "1.toml"), 'kargs = ["outside"]\n');
    mkdir("usr/lib/bootc");
    symlinkSync(outside, join(root, "usr/lib/bootc/kargs.d"));
    using rootfs = new Rootfs(linux, root);
    expect(containerKargs(rootfs, "amd64")).toEqual([]);
  } finally {
    rmSync(outside, { recursive: true });
  }
});

test("what is booted: the kernel with the image's arguments, or a unified kernel image (bootc#1827)", () => {
  using rootfs = new Rootfs(linux, root);
  expect(containerKargs(rootfs, "amd64")).toEqual(["quiet", "a=b"]);
  expect(bootedKernel(rootfs)).toEqual({ version: "6.12", unified: false });
  write("boot/EFI/Linux/debian-13.efi");
  expect(bootedKernel(rootfs)).toEqual({ version: "debian-13", unified: true });
  expect(found()).toEqual(["error uki"]);
});
