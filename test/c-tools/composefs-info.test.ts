/** composefs-info: what it prints, beside what the C program prints. */
import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, type TestContext, test } from "vitest";
import { toBytes } from "../../src/formats/bytestring.ts";
import { parseDumpfile } from "../../src/formats/dumpfile.ts";
import {
  backingPaths,
  dumpLinesC,
  listLines,
  NO_C_INPUT,
  writeErofs,
} from "../../src/formats/erofs/index.ts";
import type { Node } from "../../src/formats/tree.ts";
import { arbitraryTree } from "../formats/erofs/arbitrary-tree.ts";
import { type CTools, cTools } from "./c-tools.ts";
import { limitContent } from "./dumpfiles.ts";
import { Tools } from "./tools.ts";

const RUNS = Number(process.env.CFSBOOT_FUZZ ?? 40);
const [A, B] = ["5a", "b0"].map((byte) => ({
  path: `${byte}/${byte.repeat(31)}`,
  digest: byte.repeat(32),
})) as [Backing, Backing];

interface Backing {
  readonly path: string;
  readonly digest: string;
}

const DUMP = `/ 0 40755 3 0 0 0 1.0 - - - security.selinux=root\\x00
/-\\x20b 100 100644 2 0 0 0 1.5 ${A.path} - ${A.digest} user.x=1 user.a=\\x3d\\n
/=\\n\\xff 3 100600 1 7 8 0 2.0 - a=\\x20 -
/d 0 40755 2 0 0 0 1.0 - - -
/d/again 0 @120000 - - - - 0.0 /-\\x20b - -
/d/null 0 20666 1 0 0 259 1.0 - - -
/d/w 0 20644 1 0 0 0 1.0 - - -
/other 99 100644 1 0 0 0 1.0 ${B.path} - ${B.digest} user.x=1
/s 6 120777 1 0 0 0 1.0 ../x\\x20y - -
/s2 1 120777 1 0 0 0 1.0 \\x2d - -
`;

const LIST = `/- b	@ ${A.path}
/=\\n\\xff
/d/	
/d/again
/d/null
/d/w
/other	@ ${B.path}
/s	-> ../x\\x20y
/s2	-> -
`;

let tools: Tools;
let c: CTools | string;

beforeAll(() => {
  tools = new Tools();
  c = cTools();
  const { tree } = parseDumpfile(Buffer.from(DUMP));
  writeFileSync(join(tools.scratch, "image"), writeErofs(tree, { format: 1 }));
  const object = join(tools.scratch, "objects", A.path);
  mkdirSync(dirname(object), { recursive: true });
  writeFileSync(object, "");
}, 600_000);
afterAll(() => tools.remove());

const info = (...args: string[]) => tools.run("composefs-info", args);
const done = (stdout: string) => ({ status: 0, stdout, stderr: "" });

function theTools(ctx: TestContext): CTools {
  if (typeof c === "string") ctx.skip(c);
  return c as CTools;
}

/** The C program does not see an xattr of a prefix alone, without a value, that is the last one. */
function dropEmptyXattrs(node: Node): void {
  const { stat } = node;
  stat.xattrs = new Map([...stat.xattrs].filter(([, value]) => value.length > 0));
  if (node.type === "directory") node.entries.forEach(dropEmptyXattrs);
}

describe("what it prints", () => {
  test("ls", () => {
    expect(info("ls", "image")).toEqual(done(LIST));
    expect(info("--filter=d", "ls", "--filter", "s", "image").stdout).toBe(
      LIST.split("\n")
        .filter((line) => /^\/(d|s\t)/.test(line))
        .map((line) => `${line}\n`)
        .join("")
        // its first name is not among them, so this is the first one
        .replace("/d/again\n", `/d/again\t@ ${A.path}\n`),
    );
  });

  test("objects, of all images together, and those that are missing", () => {
    expect(info("objects", "image", "image")).toEqual(done(`${A.path}\n${B.path}\n`));
    expect(info("missing-objects", "image").stdout).toBe(`${A.path}\n${B.path}\n`);
    expect(info("missing-objects", "--basedir=objects", "image").stdout).toBe(`${B.path}\n`);
    const { status, stderr } = info("missing-objects", "--basedir=none", "image");
    expect({ status, stderr }).toEqual({
      status: 1,
      stderr: "composefs-info: openat none: No such file or directory\n",
    });
  });

  test.for([
    "ls image image",
    "dump image",
    "dump --filter=d image",
    "--filter=nothing ls image",
    "objects image",
    "missing-objects --basedir objects image",
    "measure-file image objects/5a",
  ])("%s, as the C program", (line, ctx) => {
    const args = line.split(" ");
    const { status, stdout } = theTools(ctx).run("composefs-info", args, { cwd: tools.scratch });
    expect(info(...args).stdout).toBe(stdout);
    expect(info(...args).status).toBe(status);
  });

  test("random images", (ctx) => {
    const { run } = theTools(ctx);
    fc.assert(
      fc.property(arbitraryTree(1), (tree) => {
        dropEmptyXattrs(tree);
        limitContent(tree);
        const image = writeErofs(tree, { format: 1, cInput: NO_C_INPUT });
        const path = join(tools.scratch, "random");
        writeFileSync(path, image);
        expect([...listLines(image)].join("")).toBe(run("composefs-info", ["ls", path]).stdout);
        expect([...dumpLinesC(image)].join("")).toBe(run("composefs-info", ["dump", path]).stdout);
        const objects = backingPaths(image).map((object) => `${Buffer.from(toBytes(object))}\n`);
        expect(objects.join("")).toBe(run("composefs-info", ["objects", path]).stdout);
      }),
      { numRuns: RUNS },
    );
  }, 3_600_000);
});

test.for([
  [[], "no command specified"],
  [["frob", "image"], "unknown command 'frob'"],
  [["ls"], "no image path specified"],
  [["ls", "--filter=a/b", "image"], "the filter must be a single name: a/b"],
] as const)("wrong usage: %s", ([args, message]) => {
  const { status, stdout, stderr } = info(...args);
  expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
  expect(stderr).toMatch(new RegExp(`^composefs-info: ${message}\nusage: composefs-info `));
});

test("what is no image is said, and a reader that goes away", () => {
  writeFileSync(join(tools.scratch, "text"), "text");
  expect(info("ls", "text")).toEqual({
    status: 1,
    stdout: "",
    stderr: "composefs-info: text: offset 0: not an image of composefs\n",
  });
  const shell = `"${process.execPath}" ./composefs-info ls image | head -n 1`;
  const { stdout, stderr } = spawnSync("sh", ["-c", shell], {
    cwd: tools.scratch,
    encoding: "utf8",
  });
  expect({ stdout, stderr }).toEqual({ stdout: `${LIST.split("\n")[0]}\n`, stderr: "" });
});
