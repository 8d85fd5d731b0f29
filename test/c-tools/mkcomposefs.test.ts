/** mkcomposefs: the arguments, and the same bytes as the C program's. `CFSBOOT_FUZZ=10000` compares as many trees. */
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, type TestContext, test } from "vitest";
import { parseDumpfileC } from "../../src/formats/dumpfile-c.ts";
import { writeErofs } from "../../src/formats/erofs/index.ts";
import { chooseFormat } from "../../userspace/cli/erofs-source.ts";
import { type CTools, cTools } from "./c-tools.ts";
import { arbitraryDumpfile } from "./dumpfiles.ts";
import { Tools } from "./tools.ts";

const RUNS = Number(process.env.CFSBOOT_FUZZ ?? 60);
const ROOT = "/ 0 40755 2 0 0 0 1.0 - - -\n";
const WHITEOUT = "/w 0 20644 1 0 0 0 1.0 - - -\n";
const isRoot = process.getuid?.() === 0;

let tools: Tools;
let c: CTools | string;
let tree: string;

beforeAll(() => {
  tools = new Tools();
  c = cTools();
  tree = join(tools.scratch, "tree");
  makeTree();
}, 600_000);
afterAll(() => tools.remove());

const at = (name: string) => join(tools.scratch, name);

/** Every kind of file that whoever runs this may make. */
function makeTree(): void {
  mkdirSync(join(tree, "d/e"), { recursive: true });
  const file = (name: string, content: string | Buffer) => writeFileSync(join(tree, name), content);
  file("empty", "");
  file("inline", Buffer.alloc(64, "i"));
  file("object", Buffer.alloc(65, "o"));
  file("d/object too", Buffer.alloc(65, "o"));
  file("d/e/large", Buffer.alloc(3_000_000, "large"));
  file("sparse", "");
  truncateSync(join(tree, "sparse"), 1 << 20);
  file("we\nird\\ =", "x");
  for (let i = 0; i < 400; i++) file(`d/e/file-${i}`, `${i % 7}`.repeat(i % 90));
  linkSync(join(tree, "object"), join(tree, "d/link"));
  symlinkSync("../x y", join(tree, "symlink"));
  spawnSync("mkfifo", [join(tree, "fifo")]);
  chmodSync(join(tree, "inline"), 0o4711);
  utimesSync(join(tree, "object"), 1, 5_000_000_000.123);
  for (const [name, path] of [
    ["user.a", "inline"],
    ["user.b", "object"],
    ["user.a", "d"],
  ]) {
    spawnSync("setfattr", ["-n", name!, "-v", "value", join(tree, path!)]);
  }
  if (!isRoot) return;
  spawnSync("setfattr", ["-h", "-n", "trusted.x", "-v", "1", join(tree, "symlink")]);
  spawnSync("setfattr", ["-n", "trusted.overlay.opaque", "-v", "y", join(tree, "d")]);
  for (const [name, ...device] of [
    ["null", "c", "1", "3"],
    ["disk", "b", "259", "300"],
  ]) {
    spawnSync("mknod", [join(tree, name!), ...device]);
  }
}

function theTools(ctx: TestContext): CTools {
  if (typeof c === "string") ctx.skip(c);
  return c as CTools;
}

describe("the same bytes as the C program", () => {
  test.for([
    "--threads=1",
    "--use-epoch",
    "--skip-devices --skip-xattrs",
    "--user-xattrs --min-version=1",
  ])("a directory, %s", (words, ctx) => {
    const options = words.split(" ");
    const theirs = theTools(ctx).run("mkcomposefs", [...options, tree, at("theirs")]);
    expect(theirs).toMatchObject({ status: 0, stderr: "" });
    const ours = tools.run("mkcomposefs", [...options, "tree", "ours"]);
    expect(ours).toEqual({ status: 0, stdout: "", stderr: "" });
    expect(readFileSync(at("ours")).equals(readFileSync(at("theirs")))).toBe(true);
  });

  test("directories of this machine", (ctx) => {
    const { run } = theTools(ctx);
    const devices = at("devices"); // /dev itself changes while others run
    mkdirSync(devices);
    spawnSync("cp", ["-a", "/dev/null", "/dev/zero", "/dev/fd", devices]); // not everybody may
    for (const directory of ["/etc", "/usr/share/doc", devices, "/usr/lib/systemd"]) {
      if (!existsSync(directory)) continue;
      const args = ["--print-digest-only", directory];
      const theirs = run("mkcomposefs", args);
      if (theirs.status !== 0) continue; // not everybody may read it all
      expect(tools.run("mkcomposefs", args), directory).toEqual(theirs);
    }
  });

  test("the object store", (ctx) => {
    const { run } = theTools(ctx);
    run("mkcomposefs", [`--digest-store=${at("their-store")}`, tree, at("theirs")]);
    // once more, into the store that the other one made
    for (const store of ["store", "store", "their-store"]) {
      const args = [`--digest-store=${store}`, "--print-digest", "tree", "ours"];
      const { status, stderr } = tools.run("mkcomposefs", args);
      expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    }
    expect(listing(at("store"))).toEqual(listing(at("their-store")));
  });

  test("random dump files", (ctx) => {
    const [command, ...first] = theTools(ctx).command("mkcomposefs");
    let compared = 0;
    fc.assert(
      fc.property(
        arbitraryDumpfile,
        fc.constantFrom([0, 1], [1, 1], [0, 0]) as fc.Arbitrary<[0 | 1, 0 | 1]>,
        (text, [min, max]) => {
          const dump = Buffer.from(text, "latin1");
          const versions = [`--min-version=${min}`, `--max-version=${max}`];
          const args = [...first, ...versions, "--from-file", "-", at("theirs")];
          const { status, stderr } = spawnSync(command, args, { input: dump, encoding: "latin1" });
          // it miscounts when a mark takes the place of an xattr, and gives up
          if (stderr.includes("Numerical result out of range")) return;
          expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
          const { tree, cInput } = parseDumpfileC(dump);
          const ours = writeErofs(tree, { format: chooseFormat(tree, min, max), cInput });
          expect(Buffer.compare(ours, readFileSync(at("theirs")))).toBe(0);
          compared++;
        },
      ),
      { numRuns: RUNS },
    );
    expect(compared).toBeGreaterThan(RUNS / 3);
  }, 3_600_000);

  test("what the C program refuses of a dump file is refused", (ctx) => {
    const { run } = theTools(ctx);
    for (const line of [
      "",
      "/a 3 100644 1 0 0 0 1.0 - abcd -",
      "/a 4 100644 1 0 0 0 1 - abcd -",
      "/a 4 100644",
      "/a 0 644 1 0 0 0 1.0 - - -",
      "/a 1 100644 1 0 0 0 1.0 - \\q -",
      "/d/a 0 10644 1 0 0 0 1.0 - - -",
      "/a 0 @100644 - - - - 0.0 /x - -",
      "/a 0 @100644 - - - - 0.0 /a - -",
      "/a 0 @40755 - - - - 0.0 /a - -",
      "/a 0 120777 1 0 0 0 1.0 - - -",
      "/a/ 0 10644 1 0 0 0 1.0 - - -",
      "/a 0 10644 1 0 0 0 1.0 - - - user.a",
      "/a 0 10644 1 0 0 0 1.0 - - - =x",
      "/a x 10644 1 0 0 0 1.0 - - -",
    ]) {
      const input = `${ROOT}${line}\n`;
      const { status } = run("mkcomposefs", ["--from-file", "-", at("refused")], { input });
      expect(status, line).toBe(1);
      expect(() => parseDumpfileC(Buffer.from(input, "latin1")), line).toThrow();
    }
  });
});

/** Paths, sizes and modes of all that is below a directory. */
function listing(directory: string): string[] {
  return readdirSync(directory, { recursive: true, encoding: "utf8" })
    .map((path) => {
      const stat = statSync(join(directory, path));
      return `${path} ${stat.mode.toString(8)} ${stat.isFile() ? stat.size : ""}`;
    })
    .sort();
}

describe("the arguments", () => {
  const version = (...args: string[]) => {
    const input = { input: ROOT + WHITEOUT };
    const { stdout } = tools.run("mkcomposefs", ["--from-file", ...args, "-", "-"], input);
    return Buffer.from(stdout, "latin1").readUInt32LE(12);
  };

  test("whiteouts raise the version, as far as it may rise", () => {
    expect(version()).toBe(1);
    expect(version("--max-version=0")).toBe(0);
    expect(version("--min-version", "1", "--max-version", "0")).toBe(1);
    const plain = { input: ROOT };
    const { stdout } = tools.run("mkcomposefs", ["--from-file", "-", "-"], plain);
    expect(Buffer.from(stdout, "latin1").readUInt32LE(12)).toBe(0);
  });

  test("the digest is that of the image, with the image and without", () => {
    const digest = tools.run("mkcomposefs", ["--print-digest", "tree", "image"]).stdout;
    expect(tools.run("mkcomposefs", ["tree", "--print-digest-only"]).stdout).toBe(digest);
    expect(tools.run("composefs-info", ["measure-file", "image"]).stdout).toBe(digest);
  });

  test("links are kept if that is asked for", () => {
    tools.run("mkcomposefs", ["--hardlinks", "tree", "image"]);
    expect(tools.run("composefs-info", ["dump", "image"]).stdout).toMatch(
      /^\/object 65 @100644 2 .* \/d\/link - [0-9a-f]{64}/m,
    );
  });

  test("an open file and a symlink are written through", () => {
    symlinkSync("behind", at("link"));
    tools.run("mkcomposefs", ["tree", "link"]);
    tools.run("mkcomposefs", ["tree", "image"]);
    expect(readFileSync(at("behind")).equals(readFileSync(at("image")))).toBe(true);
    const shell = `"${process.execPath}" ./mkcomposefs tree /proc/self/fd/3 3> open`;
    expect(spawnSync("sh", ["-c", shell], { cwd: tools.scratch }).status).toBe(0);
    expect(readFileSync(at("open")).equals(readFileSync(at("image")))).toBe(true);
  });

  test.for([
    [[], "no source path specified"],
    [["tree"], "no destination path specified"],
    [["a", "b", "c"], "too many arguments"],
    [["--print-digest-only", "a", "b"], "no destination path can be specified"],
    [["--min-version=2", "a", "b"], "--min-version 2: expected 0 or 1"],
    [["--threads=0", "a", "b"], "invalid threads count 0"],
    [["--bogus", "a", "b"], "Unknown option '--bogus'"],
  ] as const)("wrong usage: %s", ([args, message]) => {
    const { status, stdout, stderr } = tools.run("mkcomposefs", args);
    expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
    expect(stderr).toContain(`mkcomposefs: ${message}`);
    expect(stderr).toContain("\nUsage: mkcomposefs [OPTIONS] SOURCE IMAGE\n");
  });

  test("what is not there is said in a line", () => {
    expect(tools.run("mkcomposefs", ["none", "image"])).toEqual({
      status: 1,
      stdout: "",
      stderr: "mkcomposefs: openat none: No such file or directory\n",
    });
  });
});
