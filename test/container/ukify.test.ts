/** Unified kernel images in image builds: made, put into the image, and found there again. */
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { lint } from "../../userspace/container/lint.ts";
import { Rootfs } from "../../userspace/container/rootfs.ts";
import { linux } from "../../userspace/linux.ts";
import { spawn } from "../cli/on-machine.ts";
import { cpio, initramfsFiles } from "../formats/cpio-archive.ts";
import { pe } from "../formats/pe-builder.ts";
import { image, type TarFile, tar, writeLayout } from "../oci/fixtures/images.ts";

const KERNEL = "usr/lib/modules/6.12";
const UKI = "boot/EFI/Linux/6.12.efi";
const BUILDER = pathToFileURL(join(import.meta.dirname, "../formats/pe-builder.ts"));

/** A root file system with what its digest depends on: labels by its own policy, hard links, large and small files. */
const FILES: readonly TarFile[] = [
  ...["boot/", "dev/", "etc/", "proc/", "run/", "sys/", "sysroot/", "tmp/", "var/"],
  ...["usr/", "usr/lib/", "usr/lib/modules/", `${KERNEL}/`, "usr/lib/bootc/"],
  ...["usr/lib/bootc/kargs.d/", "etc/selinux/", "etc/selinux/targeted/"],
  ...["etc/selinux/targeted/contexts/", "etc/selinux/targeted/contexts/files/"],
]
  .map((path): TarFile => ({ path }))
  .concat([
    { path: "etc/selinux/config", data: "SELINUXTYPE=targeted\n" },
    {
      path: "etc/selinux/targeted/contexts/files/file_contexts",
      data: `${"#".repeat(100)}\n/.*  system_u:object_r:root_t:s0\n/usr/lib(/.*)?  system_u:object_r:lib_t:s0\n`,
    },
    { path: "run/of-the-build", data: "not in the image\n" },
    { path: "usr/lib/os-release", data: "ID=debian\nVERSION_ID=13\n" },
    { path: "usr/lib/large", data: "large ".repeat(5000) },
    { path: "usr/lib/linked", type: "1", link: "usr/lib/large" },
    { path: "usr/lib/bootc/kargs.d/10.toml", data: 'kargs = ["quiet"]\n' },
    { path: `${KERNEL}/vmlinuz`, data: "kernel\n" },
    { path: `${KERNEL}/.vmlinuz.hmac`, data: "hmac\n" },
    { path: `${KERNEL}/initramfs.img`, data: cpio(initramfsFiles("6.12")) },
  ]);

/** Builds what ukify would, and notes its arguments. */
const STAND_IN = `#!${process.execPath}
const { readFileSync, writeFileSync } = require("node:fs");
const args = process.argv.slice(2);
const value = (name) => args[args.indexOf(name) + 1];
const text = (name) => value(name).startsWith("@") ? readFileSync(value(name).slice(1)) : value(name);
if (args[0] === "build") import(${JSON.stringify(BUILDER.href)}).then(({ pe }) => {
  writeFileSync(value("--output") + ".args", JSON.stringify(args));
  writeFileSync(value("--output"), pe({ sections: [
    { name: ".osrel", data: text("--os-release") },
    { name: ".cmdline", data: text("--cmdline") },
    { name: ".uname", data: value("--uname") },
    { name: ".linux", data: readFileSync(value("--linux")) },
    { name: ".initrd", data: readFileSync(value("--initrd")) },
  ] }));
});
`;

let scratch: string;
let root: string;
const path = process.env.PATH;

beforeEach(() => {
  scratch = realpathSync(mkdtempSync(join(tmpdir(), "cfsboot-ukify-")));
  root = join(scratch, "root");
  mkdirSync(root);
  const options = ["-x", "-p", "--delay-directory-restore", "-C", root];
  expect(spawnSync("tar", options, { input: layer(FILES) }).status).toBe(0);
  mkdirSync(join(scratch, "bin"));
  writeFileSync(join(scratch, "bin/ukify"), STAND_IN);
  chmodSync(join(scratch, "bin/ukify"), 0o755);
  process.env.PATH = `${scratch}/bin:${path}`;
});
afterEach(() => {
  process.env.PATH = path;
  rmSync(scratch, { recursive: true });
});

/** Owned by whoever runs this, so that unpacking it keeps the owner. */
function layer(files: readonly TarFile[]): Buffer {
  const [uid, gid] = [process.getuid!(), process.getgid!()];
  return tar(files.map((file) => ({ uid, gid, ...file })));
}

function succeed(...args: string[]): string {
  const { status, stdout, stderr } = spawn(...args);
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  return stdout.trim();
}

/** What goes wrong, and what to do about it. */
function fail(...args: string[]): string {
  const { status, stderr } = spawn(...args);
  expect(status).toBe(1);
  return stderr;
}

/** Builds the image's unified kernel image into it; returns its bytes. */
function seal(...options: string[]): Buffer {
  mkdirSync(join(root, "boot/EFI/Linux"), { recursive: true });
  const out = join(scratch, "6.12.efi");
  succeed("container", "ukify", "--rootfs", root, ...options, "--", "--output", out);
  const bytes = readFileSync(out);
  writeFileSync(join(root, UKI), bytes);
  return bytes;
}

function found(): string[] {
  using rootfs = new Rootfs(linux, root);
  const skip = new Set(["api-base-directories", "var-run", "nonempty-run-tmp"]);
  return lint(rootfs, "amd64", skip).map(
    ({ level, lint, message }) => `${level} ${lint}: ${message}`,
  );
}

test("what it boots is the image that pulling the finished container image makes", () => {
  const digests = ["v1", "v2"].map((version) =>
    succeed("container", "compute-composefs-digest", root, "--erofs-version", version),
  );
  const efi = seal("--karg", "a=1", "--karg", "b");
  const args = JSON.parse(readFileSync(join(scratch, "6.12.efi.args"), "utf8"));
  expect(args).toEqual([
    ...["build", "--linux", `${root}/${KERNEL}/vmlinuz`],
    ...["--initrd", `${root}/${KERNEL}/initramfs.img`, "--uname", "6.12", "--cmdline"],
    `quiet a=1 b composefs.digest=v1-sha512-12:${digests[0]} composefs=${digests[1]}`,
    ...["--os-release", `@${root}/usr/lib/os-release`, "--output", join(scratch, "6.12.efi")],
  ]);
  const boot = ["boot/", "boot/EFI/", "boot/EFI/Linux/"].map((path) => ({ path, mtime: 1 }));
  const layers = [layer(FILES), layer([...boot, { path: UKI, data: efi }])];
  const made = image(layers.map((tar) => ({ tar, compression: "gzip" as const })));
  writeLayout(join(scratch, "oci"), [{ image: made, tag: "os" }]);
  const repo = ["--repo", join(scratch, "repo")];
  succeed("repo", "init", "--insecure", "--hash", "sha512", ...repo);
  spawn("image", "pull", `oci:${scratch}/oci:os`, "os", ...repo);
  const pulled = ["1", "2"].map((format) =>
    succeed("image", "digest", "--bootable", "--erofs-format", format, "os", ...repo),
  );
  expect(digests).toEqual(pulled);
  expect(new Set(digests).size).toBe(2);
});

test("cfsctl computes the same digests", (ctx) => {
  const cfsctl = (version: string) =>
    spawnSync("cfsctl", ["--erofs-version", version, "compute-id", "--bootable", root], {
      encoding: "utf8",
    });
  if (cfsctl("1").error !== undefined) ctx.skip("cfsctl is not installed");
  for (const version of ["1", "2"]) {
    expect(
      succeed("container", "compute-composefs-digest", root, "--erofs-version", `v${version}`),
    ).toBe(cfsctl(version).stdout.trim());
  }
});

describe("the command line", () => {
  const print = (...options: string[]) =>
    succeed("container", "ukify", "--rootfs", root, "--print-cmdline", ...options);

  test.each([
    [["--erofs-version", "v2"], /^quiet composefs=[0-9a-f]{128}$/],
    [["--erofs-version", "v1"], /^quiet composefs\.digest=v1-sha512-12:[0-9a-f]{128}$/],
    [
      ["--allow-missing-verity", "--hash", "sha256"],
      /^quiet composefs\.digest=\?v1-sha256-12:[0-9a-f]{64} composefs=\?[0-9a-f]{64}$/,
    ],
  ])("%j", (options, expected) => {
    expect(print(...options)).toMatch(expected);
  });

  test("the dump file is what the digest is of", () => {
    const dump = join(scratch, "dump");
    const digest = print("--erofs-version", "v2", "--write-dumpfile-to", dump).slice(-128);
    expect(succeed("erofs", "build", "--format", "2", dump, "-")).toBe(digest);
  });

  test.each([
    ["composefs=x", "kernel argument composefs=: it is computed, not given"],
    ["a\nb", 'kernel argument "a\\nb": control characters are in it'],
  ])("%j is refused", (karg, message) => {
    const args = ["container", "ukify", "--rootfs", root, "--print-cmdline", "--karg", karg];
    expect(fail(...args)).toContain(message);
  });
});

describe("not built", () => {
  const build = (...options: string[]) =>
    fail("container", "ukify", "--rootfs", root, ...options, "--", "--output", join(scratch, "x"));

  test("without a kernel", () => {
    rmSync(join(root, KERNEL, "vmlinuz"));
    expect(build()).toContain("has no kernel: expected /usr/lib/modules/VERSION/vmlinuz");
  });

  test("without an initramfs", () => {
    rmSync(join(root, KERNEL, "initramfs.img"));
    expect(build()).toContain("kernel 6.12 has no initramfs.img");
  });

  test("of two kernels", () => {
    mkdirSync(join(root, "usr/lib/modules/6.13"));
    writeFileSync(join(root, "usr/lib/modules/6.13/vmlinuz"), "kernel");
    expect(build()).toContain("has more than one kernel: 6.12, 6.13");
  });

  test("where there is one already", () => {
    seal();
    expect(build()).toContain("has a unified kernel image already: /boot/EFI/Linux/6.12.efi");
  });

  test("without ukify", () => {
    process.env.PATH = join(scratch, "nothing");
    expect(build()).toMatch(/the program ukify is missing\nhint: .*systemd-ukify/);
  });

  test("of the root that is running", () => {
    const said = fail("container", "ukify", "--rootfs", "/", "--print-cmdline");
    expect(said).toContain("/ is running: what is mounted there hides what is in the image");
  });

  test("when ukify fails", () => {
    writeFileSync(join(scratch, "bin/ukify"), "#!/bin/sh\necho no stub >&2\nexit 3\n");
    expect(build()).toMatch(/^no stub\ncfsboot: error: ukify: exit status 3$/m);
  });
});

describe("a kernel that is split off", () => {
  const split = ["container", "split-kernel-and-rootfs", "--output"];
  const filesOf = (directory: string) => readdirSync(directory).sort();

  test("goes into the unified kernel image from there", () => {
    const out = join(scratch, "kernel");
    expect(succeed(...split, out, "--rootfs", root)).toBe(join(out, "6.12"));
    expect(filesOf(join(out, "6.12"))).toEqual([".vmlinuz.hmac", "initramfs.img", "vmlinuz"]);
    expect(filesOf(join(root, KERNEL))).toEqual([]);
    expect(seal("--kernel-dir", join(out, "6.12")).includes("kernel\n")).toBe(true);
    expect(found()).toEqual([]);
    expect(fail(...split, out, "--rootfs", root)).toContain("has a unified kernel image");
  });

  test("is there whole after a run that was cut off, and stays where it is if it is there already", () => {
    const out = join(scratch, "kernel");
    mkdirSync(join(out, "6.12"), { recursive: true });
    writeFileSync(join(out, "6.12/initramfs.img"), "moved");
    writeFileSync(join(out, "6.12/vmlinuz"), "half");
    rmSync(join(root, KERNEL, "initramfs.img"));
    succeed(...split, out, "--rootfs", root);
    expect(readFileSync(join(out, "6.12/vmlinuz"), "utf8")).toBe("kernel\n");
    expect(readFileSync(join(out, "6.12/initramfs.img"), "utf8")).toBe("moved");
    const modules = join(root, "usr/lib/modules");
    writeFileSync(join(modules, "6.12/vmlinuz"), "kernel");
    writeFileSync(join(modules, "6.12/initramfs.img"), "initramfs");
    expect(fail(...split, modules, "--rootfs", root)).toContain("the kernel is there already");
    expect(statSync(join(modules, "6.12/vmlinuz")).size).toBe(6);
  });

  test("an initramfs that is nowhere is an error, and nothing is moved", () => {
    rmSync(join(root, KERNEL, "initramfs.img"));
    expect(fail(...split, join(scratch, "kernel"), "--rootfs", root)).toContain(
      "/usr/lib/modules/6.12/initramfs.img is missing",
    );
    expect(existsSync(join(root, KERNEL, "vmlinuz"))).toBe(true);
  });
});

describe("found again by lint", () => {
  test("nothing, if it is as it was built, with one digest or both (bootc#2334)", () => {
    for (const options of [[], ["--erofs-version", "v2"], ["--allow-missing-verity"]]) {
      seal(...options);
      expect({ options, found: found() }).toEqual({ options, found: [] });
      rmSync(join(root, UKI));
    }
  });

  test("a root that has been changed since, with both digests, and what is another by the dump file (bootc#2313)", () => {
    seal("--erofs-version", "v2");
    writeFileSync(join(root, "usr/lib/os-release"), "ID=changed\n");
    const boots =
      /^error uki-digest: \/boot\/EFI\/Linux\/6\.12\.efi boots composefs=[0-9a-f]{128}, and the root file system is [0-9a-f]{128}$/;
    expect(found()).toEqual([expect.stringMatching(boots)]);
    rmSync(join(root, UKI));
    seal("--erofs-version", "v2", "--write-dumpfile-to", join(root, "boot/6.12.dump"));
    writeFileSync(join(root, "usr/lib/os-release"), "ID=again\n");
    writeFileSync(join(root, "usr/added"), "");
    rmSync(join(root, "usr/lib/linked"));
    const all = found();
    expect(all[0]).toMatch(boots);
    expect(all.map((one) => /(\/usr\S*) .*$/.exec(one)?.[1]).slice(1)).toEqual(
      expect.arrayContaining(["/usr/added", "/usr/lib/os-release", "/usr/lib/linked"]),
    );
    expect(all.filter((one) => !one.startsWith("error uki-digest: "))).toEqual([]);
  });

  test.each<[string, Parameters<typeof pe>[0]["sections"], string[]]>([
    ["no command line", [], ["error uki-digest: /boot/EFI/Linux/x.efi has no composefs= on"]],
    [
      "a malformed one",
      [{ name: ".cmdline", data: "composefs=12" }],
      ["error uki: /boot/EFI/Linux/x.efi: section .cmdline of profile 0: malformed"],
    ],
  ])("%s", (_, sections, expected) => {
    mkdirSync(join(root, "boot/EFI/Linux"), { recursive: true });
    const initrd = cpio(initramfsFiles("6.12"));
    const rest = [
      { name: ".linux", data: "kernel" },
      { name: ".initrd", data: initrd },
    ];
    writeFileSync(join(root, "boot/EFI/Linux/x.efi"), pe({ sections: [...sections, ...rest] }));
    const all = found();
    expect(all.map((one, i) => one.slice(0, expected[i]?.length))).toEqual(expected);
  });

  test("what is none, what is for another architecture, and addons that are none", () => {
    seal();
    const put = (name: string, bytes: string | Uint8Array) => {
      mkdirSync(join(root, UKI, "..", name, ".."), { recursive: true });
      writeFileSync(join(root, UKI, "..", name), bytes);
    };
    const cmdline = [{ name: ".cmdline", data: "debug" }];
    put("6.12.efi.extra.d/good.addon.efi", pe({ sections: cmdline }));
    expect(found()).toEqual([]);
    put("6.12.efi.extra.d/none.addon.efi", "text");
    put("6.12.efi.extra.d/other.addon.efi", pe({ machine: 0xaa64, sections: cmdline }));
    put("9.efi", "text");
    expect(found()).toEqual([
      expect.stringMatching(/^error uki: \/boot\/EFI\/Linux\/9\.efi: PE offset 0: /),
      expect.stringMatching(/^error uki: \S+none\.addon\.efi: PE offset 0: /),
      expect.stringMatching(/^error uki: \S+other\.addon\.efi is for arm64, expected amd64$/),
    ]);
  });

  test("an initramfs that sets up no root", () => {
    writeFileSync(join(root, KERNEL, "initramfs.img"), cpio([{ name: "init" }]));
    seal();
    expect(found()).toContainEqual(expect.stringMatching(/^error setup-program: /));
  });
});

test("inspect tells the kernel's release and the command line of what boots", () => {
  seal("--erofs-version", "v2", "--karg", "a=1");
  expect(JSON.parse(succeed("container", "inspect", "--json", "--rootfs", root))).toEqual({
    kargs: ["quiet", "a=1", expect.stringMatching(/^composefs=[0-9a-f]{128}$/)],
    kernel: { version: "6.12", unified: true },
  });
});
