/** The frame, `cfsboot erofs` and `cfsboot fsverity`, as they are shipped. */
import { spawn, spawnSync } from "node:child_process";
import {
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { dumpPath, vectors } from "../formats/erofs/vectors.ts";

const CFSBOOT = join(import.meta.dirname, "../../dist/cfsboot.mjs");
const SIMPLE = fileURLToPath(dumpPath("simple.dump"));
const SIMPLE_V1 = "ad6db6427568a1e4fdc772cbab7b6063f5eb4b33cb62982a740ba9213e5962b5";

let scratch: string;
beforeEach(() => {
  scratch = mkdtempSync(join(tmpdir(), "cfsboot-cli-"));
});
afterEach(() => rmSync(scratch, { recursive: true }));

function run(args: string[], input: string | Buffer = "") {
  const { status, stdout, stderr } = spawnSync(process.execPath, [CFSBOOT, ...args], {
    encoding: "utf8",
    input,
    cwd: scratch,
    maxBuffer: 1 << 26,
  });
  return { status, stdout, stderr };
}

const done = (stdout: string) => ({ status: 0, stdout, stderr: "" });
const failed = (status: number, ...lines: string[]) => ({
  status,
  stdout: "",
  stderr: lines.map((line) => `${line}\n`).join(""),
});

describe("erofs build", () => {
  test.each(vectors.filter(({ dump }) => /simple|fuzz0[0-3]/.test(dump)))(
    "$dump, $hash, format $format",
    ({ dump, hash, format, digest, size }) => {
      const args = ["--format", String(format), "--hash", hash, fileURLToPath(dumpPath(dump))];
      expect(run(["erofs", "build", ...args, "out"])).toEqual(done(`${digest}\n`));
      expect(readFileSync(join(scratch, "out")).length).toBe(size);
      expect(run(["fsverity", "digest", "--hash", hash, "out"])).toEqual(done(`${digest}\n`));
    },
  );

  test("from standard input, only the digest; format 1 and the dump file's hash by default", () => {
    expect(run(["erofs", "build", "-", "-"], readFileSync(SIMPLE))).toEqual(done(`${SIMPLE_V1}\n`));
    expect(readdirSync(scratch)).toEqual([]);
    const empty = run(["erofs", "build", "-", "-"], "/ 0 40755 2 0 0 0 0.0 - - -\n");
    expect(empty.stdout).toMatch(/^[0-9a-f]{128}\n$/);
  });

  test("replaces a file, also behind a symlink, and leaves nothing beside it", () => {
    writeFileSync(join(scratch, "file"), "old");
    symlinkSync("file", join(scratch, "link"));
    expect(run(["erofs", "build", SIMPLE, "link"]).status).toBe(0);
    expect(readFileSync(join(scratch, "file")).length).toBe(16384);
    expect(readdirSync(scratch).sort()).toEqual(["file", "link"]);
  });

  test("writes into a pipe instead of replacing it", async () => {
    expect(spawnSync("mkfifo", [join(scratch, "pipe")]).status).toBe(0);
    const reader = spawn("wc", ["-c", "pipe"], { cwd: scratch });
    let count = "";
    reader.stdout.on("data", (data) => {
      count += data;
    });
    const ended = new Promise((resolve) => reader.on("close", resolve));
    expect(run(["erofs", "build", SIMPLE, "pipe"])).toEqual(done(`${SIMPLE_V1}\n`));
    await ended;
    expect(count).toBe("16384 pipe\n");
  });

  test("a bad dump file leaves an existing image alone", () => {
    writeFileSync(join(scratch, "out"), "old");
    writeFileSync(
      join(scratch, "bad"),
      "/ 0 40755 2 0 0 0 0.0 - - -\n/f 0 100 1 0 0 0 0.0 - - -\n",
    );
    expect(run(["erofs", "build", "bad", "out"])).toEqual(
      failed(1, 'cfsboot: error: bad: line 2: MODE: unknown file type, got "100"'),
    );
    expect(readFileSync(join(scratch, "out"), "utf8")).toBe("old");
    expect(readdirSync(scratch).sort()).toEqual(["bad", "out"]);
  });

  test("what is missing or of another hash is said in a line", () => {
    expect(run(["erofs", "build", "none", "-"])).toEqual(
      failed(1, "cfsboot: error: open none: no such file or directory"),
    );
    expect(run(["erofs", "build", "-", "-"], "")).toEqual(
      failed(1, "cfsboot: error: standard input: no entry for /"),
    );
    expect(run(["erofs", "build", "--hash", "sha512", SIMPLE, "-"])).toEqual(
      failed(
        1,
        `cfsboot: error: ${SIMPLE}: line 5: DIGEST: expected sha512, 128 hex digits, got 64`,
        "hint: its digests look like sha256",
      ),
    );
    expect(run(["erofs", "build", SIMPLE, "no/such/file"]).stderr).toMatch(
      /^cfsboot: error: write no\/such\/file: .*no such file or directory\n$/,
    );
  });
});

describe("erofs dump", () => {
  test("prints the dump file again", () => {
    run(["erofs", "build", SIMPLE, "image"]);
    const dump = readFileSync(SIMPLE, "utf8");
    expect(run(["erofs", "dump", "image"])).toEqual(done(dump));
    expect(run(["erofs", "dump", "-"], readFileSync(join(scratch, "image")))).toEqual(done(dump));
  });

  test("names the place where an image is damaged", () => {
    run(["erofs", "build", SIMPLE, "image"]);
    const image = readFileSync(join(scratch, "image"));
    image.writeUInt8(13, 1024 + 12);
    writeFileSync(join(scratch, "image"), image);
    expect(run(["erofs", "dump", "image"])).toEqual(
      failed(1, "cfsboot: error: image: offset 1036: superblock: blockBits 13"),
    );
    expect(run(["erofs", "dump", SIMPLE])).toEqual(
      failed(1, `cfsboot: error: ${SIMPLE}: offset 0: not an image of composefs`),
    );
  });

  test("is quiet when the reader goes away", () => {
    const lines = ["/ 0 40755 2 0 0 0 0.0 - - -"];
    for (let i = 0; i < 20_000; i++) lines.push(`/file-${i} 1 100644 1 0 0 0 0.0 - x -`);
    writeFileSync(join(scratch, "dump"), lines.join("\n"));
    run(["erofs", "build", "dump", "image"]);
    const command = `"$0" "$1" erofs dump image | head -n 1; echo "status \${PIPESTATUS[0]}"`;
    const { stdout, stderr } = spawnSync("bash", ["-c", command, process.execPath, CFSBOOT], {
      encoding: "utf8",
      cwd: scratch,
    });
    expect(stderr).toBe("");
    expect(stdout).toBe("/ 0 40755 2 0 0 0 0.0 - - -\nstatus 141\n");
  });
});

describe("erofs build of a directory", () => {
  const tree = (...args: string[]) => run(["erofs", "build", "--use-epoch", ...args]);

  beforeEach(() => {
    mkdirSync(join(scratch, "tree/d"), { recursive: true });
    writeFileSync(join(scratch, "tree/d/large"), "l".repeat(100));
    writeFileSync(join(scratch, "tree/d/small"), "s");
    linkSync(join(scratch, "tree/d/small"), join(scratch, "tree/link"));
  });

  test("an image, its objects, and what the commands tell of them", () => {
    const { stdout } = tree("--hash", "sha256", "--digest-store", "objects", "tree", "image");
    const digest = stdout.trim();
    const object = run(["fsverity", "digest", "tree/d/large"]).stdout.trim();
    const path = `${object.slice(0, 2)}/${object.slice(2)}`;
    expect(run(["erofs", "ls", "image"])).toEqual(
      done(`/d/\t\n/d/large\t@ ${path}\n/d/small\n/link\n`),
    );
    expect(run(["erofs", "ls", "--filter", "link", "--", "image"])).toEqual(done("/link\n"));
    expect(run(["erofs", "objects", "image"])).toEqual(done(`${path}\n`));
    expect(run(["erofs", "missing-objects", "--basedir", "objects", "image"])).toEqual(done(""));
    const good = "image: good, format 1, 1 objects checked\n";
    const check = ["erofs", "fsck", "--basedir", "objects", "image"];
    expect(run([...check, "--digest", digest])).toEqual(done(good));
    expect(JSON.parse(run(["erofs", "info", "--json", "image"]).stdout)).toMatchObject({
      format: 1,
      digests: { sha256: digest },
      hash: "sha256",
      directories: 2,
      leaves: { inline: 2, external: 1 },
      links: 0,
      objects: 1,
      objectBytes: 100,
    });
    expect(run(["erofs", "info", "image"]).stdout).toContain(`\nsha256:      ${digest}\n`);
  });

  test("fsck names objects that are missing or damaged, and an image of another digest", () => {
    tree("--digest-store", "objects", "tree", "image");
    const path = run(["erofs", "objects", "image"]).stdout.trim();
    const check = ["erofs", "fsck", "--basedir", "objects", "image"];
    const error = "cfsboot: error: image: 1 of 1 objects are missing or damaged\n";
    rmSync(join(scratch, "objects", path));
    expect(run(check)).toEqual({ status: 1, stdout: `${path}: missing\n`, stderr: error });
    expect(run(["erofs", "missing-objects", "--basedir", "objects", "image"]).stdout).toBe(
      `${path}\n`,
    );
    writeFileSync(join(scratch, "objects", path), "other");
    const other = run(["fsverity", "digest", "--hash", "sha512", `objects/${path}`]).stdout;
    expect(run(check)).toEqual({
      status: 1,
      stdout: `${path}: its digest is ${other}`,
      stderr: error,
    });
    expect(run(["erofs", "fsck", "--digest", "0".repeat(64), "image"]).stderr).toMatch(
      /^cfsboot: error: image: its fs-verity digest is [0-9a-f]{64}, expected 0{64}\n$/,
    );
  });

  test("links only if they are to be kept; the format by what is in the tree", () => {
    const broken = tree("tree", "-").stdout;
    expect(tree("--hardlinks", "tree", "-").stdout).not.toBe(broken);
    expect(tree("--max-version", "1", "tree", "-").stdout).toBe(
      tree("--format", "0", "tree", "--print-digest-only").stdout,
    );
  });

  test("wrong usage", () => {
    for (const [args, message] of [
      [["tree"], 'missing argument: the image to write, "-" to print only the digest'],
      [["--min-version", "2", "tree", "-"], "--min-version 2: expected 0 or 1"],
      [["tree", "-", "--print-digest-only"], "--print-digest-only and an image to write"],
      [["--skip-devices", SIMPLE, "-"], "--skip-devices is for directories"],
    ] as const) {
      const { status, stderr } = run(["erofs", "build", ...args]);
      expect(status).toBe(2);
      expect(stderr).toContain(`cfsboot: error: ${message}`);
    }
  });
});

describe("fsverity digest", () => {
  test("a line for each file, sha256 by default", () => {
    writeFileSync(join(scratch, "a"), "a");
    writeFileSync(join(scratch, "empty"), "");
    const a = "bce75948b9e7510293f8f2720412af9697c1479281323f3f220623fb8e94b557";
    const empty = "3d248ca542a24fc62d1c43b916eae5016878e2533c88238480b26128a1f1af95";
    expect(run(["fsverity", "digest", "a", "empty", "a"])).toEqual(done(`${a}\n${empty}\n${a}\n`));
    expect(run(["fsverity", "digest", "-"], "a")).toEqual(done(`${a}\n`));
  });

  test("a file larger than what is read at once", (ctx) => {
    const data = Buffer.alloc(3 * (1 << 20) + 5, "data");
    writeFileSync(join(scratch, "large"), data);
    const tool = spawnSync("fsverity", ["digest", "--compact", "--hash-alg=sha512", "large"], {
      encoding: "utf8",
      cwd: scratch,
    });
    if (tool.error !== undefined) ctx.skip("fsverity (fsverity-utils) is not installed");
    expect(run(["fsverity", "digest", "--hash", "sha512", "large"])).toEqual(done(tool.stdout));
  });

  test("files that cannot be read are named", () => {
    expect(run(["fsverity", "digest", "none"])).toEqual(
      failed(1, "cfsboot: error: none: open none: no such file or directory"),
    );
    mkdirSync(join(scratch, "d"));
    expect(run(["fsverity", "digest", "d"])).toEqual(
      failed(1, "cfsboot: error: d: read: illegal operation on a directory"),
    );
  });
});

describe("the frame", () => {
  test("--version", () => {
    expect(run(["--version"]).stdout).toMatch(/^cfsboot \d+\.\d+\.\d+\n$/);
  });

  test("wrong usage ends with status 2 and a line that says so", () => {
    const hint = "hint: --help shows the usage";
    for (const [args, message] of [
      [["nonsense"], "unknown command 'nonsense'"],
      [["erofs", "nonsense"], "unknown command 'nonsense'"],
      [["--nonsense"], "unknown option '--nonsense'"],
      [["erofs", "dump"], "missing required argument 'image'"],
      [
        ["erofs", "build", "--format", "3", "a", "b"],
        "option '--format <n>' argument '3' is invalid. Allowed choices are 0, 1, 2.",
      ],
    ] as const) {
      expect(run([...args])).toEqual(failed(2, `cfsboot: error: ${message}`, hint));
    }
    for (const args of [[], ["erofs"]]) {
      const { status, stdout, stderr } = run(args);
      expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
      expect(stderr).toMatch(/^Usage: cfsboot/);
    }
  });

  test("help names every noun, and every command has an example", () => {
    const { status, stdout } = run(["--help"]);
    expect(status).toBe(0);
    for (const noun of ["repo", "image", "mount", "erofs", "fsverity"]) {
      expect(stdout).toMatch(new RegExp(`^  ${noun} `, "m"));
    }
    const images = ["build", "info", "ls", "objects", "missing-objects", "dump", "fsck"];
    for (const command of [...images.map((name) => `erofs ${name}`), "fsverity digest"]) {
      const help = run([...command.split(" "), "--help"]);
      expect(help.status).toBe(0);
      expect(help.stdout).toMatch(new RegExp(`\nExamples?:\n(  cfsboot ${command} .*\n)+$`));
    }
  });

  test("--verbose adds where errors come from, wherever it stands", () => {
    for (const args of [
      ["--verbose", "erofs", "dump", "none"],
      ["erofs", "dump", "none", "--verbose"],
    ]) {
      const { status, stderr } = run(args);
      expect(status).toBe(1);
      expect(stderr).toMatch(/^cfsboot: error: open none: no such file or directory\n/);
      expect(stderr).toMatch(/\n {4}at /);
    }
    expect(run(["erofs", "dump", "none"]).stderr).not.toContain(" at ");
  });

  test("standard output that cannot be written is an error", (ctx) => {
    if (!existsSync("/dev/full")) ctx.skip("there is no /dev/full");
    const { stdout, stderr } = spawnSync(
      "bash",
      ["-c", '"$0" "$1" --version > /dev/full; echo "status $?"', process.execPath, CFSBOOT],
      { encoding: "utf8" },
    );
    expect(stdout).toBe("status 1\n");
    expect(stderr).toMatch(
      /^cfsboot: error: write to standard output: .*no space left on device\nhint: make room .*\n$/,
    );
  });
});
