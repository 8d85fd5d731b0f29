import { spawnSync } from "node:child_process";
import { globSync, readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { readInitramfs } from "../../userspace/initramfs.ts";
import { zstd } from "../../userspace/zstd.ts";
import { type CpioFile, cpio, initramfsFiles } from "../formats/cpio-archive.ts";

const RELEASE = "6.12.1-amd64";
const MAIN = cpio(initramfsFiles(RELEASE));
const MICROCODE = cpio([
  { name: "kernel", mode: 0o40755 },
  { name: "kernel/x86/microcode/AuthenticAMD.bin", data: "microcode" },
]);
const EXPECTED = {
  programs: ["/usr/lib/cfsboot/composefs-setup-root"],
  units: ["composefs-setup-root.service"],
  modules: new Map([[RELEASE, new Set(["erofs", "overlay"])]]),
  openers: new Set(),
};

/** Compresses with a program; `undefined` if it is not there. */
function run(name: string, ...args: string[]): ((data: Buffer) => Buffer) | undefined {
  if (spawnSync(name, ["--version"]).error !== undefined) return undefined;
  return (data) => spawnSync(name, args, { input: data, maxBuffer: 1 << 30 }).stdout;
}

const FORMATS: readonly [string, ((data: Buffer) => Uint8Array) | undefined][] = [
  ["none", (data) => data],
  ["gzip", (data) => gzipSync(data)],
  [
    "gzip in two members",
    (data) => Buffer.concat([gzipSync(data.subarray(0, 99)), gzipSync(data.subarray(99))]),
  ],
  ["zstd", (data) => zstd.compress(data)],
  ["lz4", run("lz4", "-l", "-c")],
  ["xz", run("xz", "-c", "--check=crc32")],
  ["bzip2", run("bzip2", "-c")],
  ["lzma", run("xz", "-c", "--format=lzma")],
];

/** Compresses an archive, with as many zeros behind it as it takes for the result to fill whole words. */
function compressAligned(compress: (data: Buffer) => Uint8Array, archive: Buffer): Uint8Array {
  for (let zeros = 0; zeros < 1 << 20; zeros += 512) {
    const compressed = compress(Buffer.concat([archive, Buffer.alloc(zeros)]));
    if (compressed.length % 4 === 0) return compressed;
  }
  throw new Error("no number of zeros makes whole words of it");
}

describe.each(FORMATS)("compression: %s", (name, compress) => {
  test("what the root needs is found behind microcode and before padding", (ctx) => {
    if (compress === undefined) return ctx.skip(`no program for ${name}`);
    const compressed = compress(MAIN);
    expect(readInitramfs(compressed as Uint8Array)).toEqual(EXPECTED);
    const padding = Buffer.alloc(512 - (compressed.length % 512));
    // xz takes padding in fours
    const zeros = name === "xz" ? padding.subarray(0, padding.length & ~3) : padding;
    const tail = name === "lzma" ? Buffer.alloc(0) : zeros;
    const data = Buffer.concat([MICROCODE, Buffer.alloc(1024), compressed, tail]);
    expect(readInitramfs(data)).toEqual(EXPECTED);
  });

  test("what follows as it is, or compressed behind that, is unpacked, too", (ctx) => {
    if (compress === undefined) return ctx.skip(`no program for ${name}`);
    const more = cpio([{ name: "lib/modules/6.1/kernel/drivers/block/loop.ko", data: "l" }]);
    // nothing may be behind what is compressed, but as much as aligns the next header; of lzma not even that
    const compressed = name === "lzma" ? compressAligned(compress, MAIN) : compress(MAIN);
    const gap = Buffer.alloc(-compressed.length & 3);
    // lz4's end is a block of no size
    const end = name === "lz4" ? Buffer.alloc(4) : Buffer.alloc(0);
    const modules = new Map([...EXPECTED.modules, ["6.1", new Set(["loop"])]]);
    const data = Buffer.concat([compressed, gap, end, more, Buffer.alloc(512)]);
    expect(readInitramfs(data)).toEqual({ ...EXPECTED, modules });
    const first = Buffer.concat([compress(more), Buffer.alloc(8)]);
    const aligned = first.subarray(0, first.length & ~3);
    if (name === "lzma") return; // it is not told from what is behind it
    expect(readInitramfs(Buffer.concat([aligned, MICROCODE, compressed]))).toEqual({
      ...EXPECTED,
      modules,
    });
  });

  test("an initramfs that is cut off is refused", (ctx) => {
    if (compress === undefined) return ctx.skip(`no program for ${name}`);
    // so that it is not cut in what a format has at its end
    const data = compress(cpio([...initramfsFiles(RELEASE), noise(100_000)]));
    expect(() => readInitramfs(data.subarray(0, data.length >> 1))).toThrow();
  });

  test("large data is read", (ctx) => {
    if (compress === undefined) return ctx.skip(`no program for ${name}`);
    const data = cpio([...initramfsFiles(RELEASE), noise(9_000_000)]);
    expect(readInitramfs(compress(data))).toEqual(EXPECTED);
  });
});

/** A file that is not all the same, and yet soon made. */
function noise(size: number): CpioFile {
  const line = Buffer.alloc(9973, "");
  for (let i = 0; i < line.length; i++) line[i] = 33 + ((i * i * 31 + (i >> 3)) % 90);
  let data = line.toString("latin1");
  while (data.length < size) data += data.length + data;
  return { name: "usr/share/noise", data: data.slice(0, size) };
}

test("gzip of more than is decompressed at once is read in pieces", () => {
  const data = cpio([{ name: "zeros", data: "\0".repeat(70 << 20) }, ...initramfsFiles(RELEASE)]);
  const compressed = gzipSync(data, { level: 1 });
  expect(readInitramfs(Buffer.concat([compressed, Buffer.alloc(100)]))).toEqual(EXPECTED);
});

test.each<[string, Uint8Array, RegExp]>([
  ["empty", Buffer.alloc(0), /there is no archive in it/],
  ["zeros", Buffer.alloc(4096), /there is no archive in it/],
  ["text", Buffer.from("initramfs"), /^offset 0$/],
  ["gzip of text", gzipSync("initramfs"), /^offset 0$/],
  ["text behind gzip", Buffer.concat([gzipSync(MAIN), Buffer.from("text")]), /^offset 0$/],
  [
    "an archive behind gzip where no header can be",
    Buffer.concat([gzipSync(MAIN), Buffer.alloc(1 + (-gzipSync(MAIN).length & 3)), MICROCODE]),
    /^offset 0$/,
  ],
  [
    "a broken second archive",
    Buffer.concat([MICROCODE, Buffer.from("0707xx".padEnd(200, "0"))]),
    /^cpio offset/,
  ],
])("what is no initramfs is refused: %s", (_, data, message) => {
  expect(() => readInitramfs(data)).toThrow(message);
});

test("names are found with ./ and without usr/, and only programs that are programs", () => {
  const found = readInitramfs(
    cpio([
      { name: "./lib/bootc/initramfs-setup", mode: 0o100755 },
      { name: "bin/composefs-setup-root", mode: 0o100644 },
      {
        name: "etc/systemd/system/initrd-root-fs.target.wants/bootc-root-setup.service",
        mode: 0o120777,
        data: "/x",
      },
      { name: "lib/modules/6.1/kernel/drivers/block/loop.ko", data: "l" },
      { name: "usr/bin/systemd-cryptsetup", mode: 0o120777, data: "../lib/systemd/x" },
      { name: "usr/lib/systemd/systemd-cryptsetup", mode: 0o100755, data: "c" },
      { name: "lib/modules/6.1/kernel/fs/erofs.ko.backup", data: "l" },
    ]),
  );
  expect(found).toEqual({
    programs: ["/./lib/bootc/initramfs-setup"],
    units: ["bootc-root-setup.service"],
    modules: new Map([["6.1", new Set(["loop"])]]),
    openers: new Set(["passphrase"]),
  });
});

test("what dracut makes for our virtual machines is read", (ctx) => {
  const made = globSync(".cache/vm/repository-*/*/initramfs.img");
  const suites = new Map(made.map((path) => [path.split("/").at(-3), path]));
  if (suites.size === 0) return ctx.skip("no virtual machine has been made yet");
  for (const path of suites.values()) {
    const { programs, units, modules } = readInitramfs(readFileSync(path));
    expect(programs).toEqual(["/usr/lib/cfsboot/composefs-setup-root"]);
    expect(units).toEqual(["composefs-setup-root.service"]);
    for (const one of modules.values())
      expect([...one]).toEqual(expect.arrayContaining(["erofs", "overlay"]));
    expect(modules.size).toBe(1);
  }
});
