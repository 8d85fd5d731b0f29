/** Archives as GNU tar, bsdtar, Go, Python and others write them, compared with the files that went in. */
import { execFileSync, spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type ByteString, fromText } from "../../../src/formats/bytestring.ts";
import type { TarEntry } from "../../../src/formats/tar/entries.ts";
import { entriesOf, reassemble, split } from "./archive.ts";

const LONG = `long/${"d".repeat(90)}/${"e".repeat(90)}`;
let dir: string;

beforeAll(() => {
  dir = fs.mkdtempSync(join(tmpdir(), "cfsboot-tar-"));
  const root = join(dir, "root");
  fs.mkdirSync(join(root, LONG), { recursive: true });
  fs.writeFileSync(join(root, "empty"), "");
  fs.writeFileSync(join(root, "small"), "s".repeat(64));
  fs.writeFileSync(join(root, "large"), "l".repeat(65));
  fs.writeFileSync(join(root, "larger"), Buffer.alloc(1 << 20, "abc"));
  fs.writeFileSync(join(root, "büro"), "x");
  fs.linkSync(join(root, "large"), join(root, "another"));
  fs.symlinkSync("../large", join(root, "link"));
  fs.writeFileSync(join(root, "setuid"), "x");
  fs.chmodSync(join(root, "setuid"), 0o4751);
  execFileSync("mkfifo", [join(root, "fifo")]);
  for (const name of fs.readdirSync(root)) {
    fs.lutimesSync(join(root, name), 1700000000, 1700000000.25);
  }
});
afterAll(() => fs.rmSync(dir, { recursive: true, force: true }));

const missing = (tool: string) =>
  spawnSync(tool, ["--version"]).error === undefined ? undefined : `${tool} is not installed`;

const make = (tool: string, ...args: string[]): Buffer =>
  execFileSync(tool, args, { cwd: join(dir, "root"), maxBuffer: 1 << 26 });

/** Path without `./` and trailing slash -> entry. */
const byPath = (entries: TarEntry[]) =>
  new Map(entries.map((entry) => [entry.path.replace(/^\.?\/|\/$/g, ""), entry]));

/** Compares entries with the files; `whole`: the format has only whole seconds. */
function compare(bytes: Uint8Array, { longNames = true, whole = true } = {}): void {
  expect(Buffer.compare(reassemble(split(bytes)), bytes)).toBe(0);
  const { objects } = split(bytes);
  const found = byPath(entriesOf(bytes));
  let hardlinks = 0;
  const names = fs
    .readdirSync(join(dir, "root"), { recursive: true, encoding: "utf8" })
    .filter((name) => longNames || !name.startsWith("long/"));
  for (const name of names) {
    const path = join(dir, "root", name);
    const stat = fs.lstatSync(path, { bigint: true });
    const entry = found.get(fromText(name));
    expect(entry, name).toBeDefined();
    const { item } = entry!;
    if (item.type === "hardlink") {
      expect(["large", "another"]).toContain(item.target.replace(/^\.\//, ""));
      hardlinks++;
      continue;
    }
    expect(entry!.stat, name).toMatchObject({
      mode: Number(stat.mode) & 0o7777,
      uid: Number(stat.uid),
      gid: Number(stat.gid),
      mtimeSec: stat.mtimeNs / 1_000_000_000n,
      mtimeNsec: whole ? 0 : Number(stat.mtimeNs % 1_000_000_000n),
    });
    if (stat.isDirectory()) expect(item.type).toBe("directory");
    else if (stat.isSymbolicLink()) expect(item).toEqual({ type: "symlink", target: "../large" });
    else if (stat.isFIFO()) expect(item.type).toBe("fifo");
    else if (stat.size <= 64n) {
      expect(item).toEqual({ type: "inline", data: new Uint8Array(fs.readFileSync(path)) });
    } else {
      expect(item).toMatchObject({ type: "external", size: Number(stat.size) });
      if (item.type !== "external") throw new Error("unreachable");
      const content = objects.get(String.fromCharCode(...item.digest) as ByteString)!;
      expect(Buffer.compare(content, fs.readFileSync(path))).toBe(0);
    }
  }
  expect(hardlinks).toBe(1);
}

describe("GNU tar", () => {
  test.for([
    { format: "gnu" },
    { format: "posix", whole: false },
    { format: "oldgnu" },
    { format: "ustar" },
    { format: "v7", longNames: false },
  ])("--format=$format", ({ format, ...options }, ctx) => {
    const reason = missing("tar");
    if (reason !== undefined) ctx.skip(reason);
    const exclude = options.longNames === false ? ["--exclude=./long/*", "--exclude=./fifo"] : [];
    // V7 has no way to write a fifo: GNU tar leaves it out with a warning.
    if (format === "v7") fs.renameSync(join(dir, "root", "fifo"), join(dir, "fifo"));
    try {
      compare(make("tar", "-c", `--format=${format}`, ...exclude, "."), options);
    } finally {
      if (format === "v7") fs.renameSync(join(dir, "fifo"), join(dir, "root", "fifo"));
    }
  });

  test("record padding is kept", (ctx) => {
    const reason = missing("tar");
    if (reason !== undefined) ctx.skip(reason);
    const bytes = make("tar", "-c", "--blocking-factor=64", "small");
    expect(bytes.length).toBe(64 * 512);
    expect(Buffer.compare(reassemble(split(bytes)), bytes)).toBe(0);
    expect(entriesOf(bytes)).toHaveLength(1);
  });

  test("names of any length", (ctx) => {
    const reason = missing("tar");
    if (reason !== undefined) ctx.skip(reason);
    for (const format of ["gnu", "posix"]) {
      for (const length of [99, 100, 101, 155, 156, 255, 256, 257, 511, 512, 513, 1023]) {
        const name = "n".repeat(length);
        const transform = [`--transform=s/small/${name}/r`, `--transform=s/link$/${name}/r`];
        const bytes = make("tar", "-c", `--format=${format}`, ...transform, "small", "link");
        expect(entriesOf(bytes).map(({ path }) => path)).toEqual([name, name]);
        const target = make(
          "tar",
          "-c",
          `--format=${format}`,
          `--transform=s/.*/${name}/s`,
          "link",
        );
        expect(entriesOf(target)[0]!.item).toEqual({ type: "symlink", target: name });
      }
    }
  });

  test("sparse files are refused with their name", (ctx) => {
    const reason = missing("tar");
    if (reason !== undefined) ctx.skip(reason);
    const sparse = join(dir, "sparse");
    fs.writeFileSync(sparse, "");
    fs.truncateSync(sparse, 1 << 22);
    fs.appendFileSync(sparse, "end");
    for (const format of ["--format=gnu", "--format=posix", "--sparse-version=0.1"]) {
      const bytes = make("tar", "-cS", "-C", dir, format, "sparse");
      expect(() => split(bytes)).toThrow("sparse files are not supported");
    }
  });

  test("extended attributes", (ctx) => {
    const reason = missing("tar");
    if (reason !== undefined) ctx.skip(reason);
    const file = join(dir, "root", "small");
    const set = spawnSync("setfattr", ["-n", "user.test", "-v", "value", file]);
    if (set.status !== 0) ctx.skip("setfattr or user xattrs in the temporary directory needed");
    const bytes = make("tar", "-c", "--xattrs", "--format=posix", "small");
    expect([...entriesOf(bytes)[0]!.stat.xattrs]).toEqual([
      ["user.test", new Uint8Array(Buffer.from("value"))],
    ]);
    execFileSync("setfattr", ["-x", "user.test", file]);
  });
});

describe("bsdtar", () => {
  test.for([{ format: "pax", whole: false }, { format: "gnutar" }, { format: "ustar" }])(
    "--format=$format",
    ({ format, ...options }, ctx) => {
      const reason = missing("bsdtar");
      if (reason !== undefined) ctx.skip(reason);
      compare(make("bsdtar", "-c", "-f", "-", "--format", format, "."), options);
    },
  );
});

describe("BusyBox and pax", () => {
  test.for([
    ["busybox", "tar", "-c", "-f", "-", "."],
    ["pax", "-w", "-x", "ustar", "."],
  ])("%s", ([tool, ...args], ctx) => {
    if (spawnSync(tool!, ["--help"]).error !== undefined) ctx.skip(`${tool} is not installed`);
    compare(make(tool!, ...args));
  });
});

test("star, in all of its formats", (ctx) => {
  if (spawnSync("star", ["-version"]).error !== undefined) ctx.skip("star is not installed");
  const options: Record<string, Parameters<typeof compare>[1]> = {
    star: { longNames: false }, // older than ustar: its own way to split names is nobody else's
    xstar: {},
    xustar: { whole: false },
    exustar: { whole: false },
    ustar: {},
  };
  for (const [format, option] of Object.entries(options)) {
    compare(make("star", "-c", "-f", "-", `H=${format}`, "."), option);
  }
});

describe("Go", () => {
  const program = `package main

import (
	"archive/tar"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	format := map[string]tar.Format{"any": 0, "PAX": tar.FormatPAX, "GNU": tar.FormatGNU}[os.Args[1]]
	out := tar.NewWriter(os.Stdout)
	seen := map[uint64]string{}
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	must(filepath.Walk(".", func(path string, info fs.FileInfo, err error) error {
		must(err)
		link, _ := os.Readlink(path)
		header, err := tar.FileInfoHeader(info, link)
		must(err)
		header.Name, header.Format = path, format
		if format != tar.FormatPAX {
			header.ModTime = header.ModTime.Truncate(time.Second)
			header.AccessTime, header.ChangeTime = time.Time{}, time.Time{}
		}
		if info.IsDir() {
			header.Name += "/"
		}
		if inode := info.Sys().(*syscall.Stat_t).Ino; seen[inode] != "" {
			header.Typeflag, header.Linkname, header.Size = tar.TypeLink, seen[inode], 0
		} else {
			seen[inode] = path
		}
		must(out.WriteHeader(header))
		if header.Typeflag == tar.TypeReg {
			file, err := os.Open(path)
			must(err)
			_, err = io.Copy(out, file)
			must(err)
			file.Close()
		}
		return nil
	}))
	must(out.Close())
}
`;
  test.for([{ format: "any" }, { format: "PAX", whole: false }, { format: "GNU" }])(
    "archive/tar, $format",
    ({ format, ...options }, ctx) => {
      const reason = spawnSync("go", ["version"]).error && "go is not installed";
      if (reason !== undefined) ctx.skip(reason);
      const source = join(dir, "go");
      const binary = join(source, "tar");
      if (!fs.existsSync(binary)) {
        fs.mkdirSync(source);
        fs.writeFileSync(join(source, "main.go"), program);
        const env = { ...process.env, GO111MODULE: "off", CGO_ENABLED: "0" };
        execFileSync("go", ["build", "-o", binary, "main.go"], { cwd: source, env });
      }
      compare(make(binary, format), options);
    },
  );
});

describe("Python", () => {
  const program = `
import sys, tarfile
format = getattr(tarfile, sys.argv[1])
def trim(info):
    info.mtime = int(info.mtime)
    return info
with tarfile.open(fileobj=sys.stdout.buffer, mode="w|", format=format) as tar:
    tar.add(".", filter=trim)
`;
  test.for(["PAX_FORMAT", "GNU_FORMAT"])("%s", (format, ctx) => {
    const reason = missing("python3");
    if (reason !== undefined) ctx.skip(reason);
    const bytes = make("python3", "-c", program, format);
    compare(bytes);
  });

  test("owners beyond octal fields, nanoseconds, devices", (ctx) => {
    const reason = missing("python3");
    if (reason !== undefined) ctx.skip(reason);
    for (const format of ["PAX_FORMAT", "GNU_FORMAT"]) {
      const bytes = make(
        "python3",
        "-c",
        `
import sys, tarfile
with tarfile.open(fileobj=sys.stdout.buffer, mode="w|", format=tarfile.${format}) as tar:
    info = tarfile.TarInfo("dev/sda")
    info.type = tarfile.BLKTYPE
    info.devmajor, info.devminor = 8, 1
    info.uid, info.gid, info.mtime = 4294967294, 3000000, 2**33
    tar.addfile(info)
`,
      );
      expect(entriesOf(bytes)[0]).toMatchObject({
        path: "dev/sda",
        stat: { uid: 4294967294, gid: 3000000, mtimeSec: 2n ** 33n },
        item: { type: "blockdev", rdev: 0x801 },
      });
    }
  });
});
