/** `cfsboot etc`, as it is shipped. */
import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { isRoot, NOT_ROOT, type Scratch, scratch } from "./places.ts";

const CFSBOOT = join(import.meta.dirname, "../../../dist/cfsboot.mjs");
const NOBODY = 65534;

let dir: Scratch;
beforeEach(() => {
  dir = scratch();
  chmodSync(dir.path, 0o755);
});
afterEach(() => dir[Symbol.dispose]());

interface Result {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

const run = (...args: string[]): Result =>
  spawnSync(process.execPath, [CFSBOOT, "etc", ...args], { cwd: dir.path, encoding: "utf8" });

const THREE = ["--pristine", "p", "--current", "c", "--next", "n"];

function make(p: string, c: string, n = p): void {
  for (const [name, script] of Object.entries({ p, c, n })) dir.make(name, script);
}

describe("diff", () => {
  test("a table, one line for each change (bootc defect: parents of changes)", () => {
    make(
      "echo 1 > f; echo > gone; mkdir d; echo > t",
      "echo 2 > f; chmod 600 f; mkdir d; echo > d/x; ln -s f t",
    );
    expect(run("diff", "--pristine", "p", "--current", "c")).toEqual(
      expect.objectContaining({
        status: 0,
        stderr: "",
        stdout: [
          "CHANGE    TYPE             PATH  DIFFERS",
          "added     file             d/x",
          "modified  file             f     content, mode",
          "removed   file             gone",
          "modified  file to symlink  t",
          "",
        ].join("\n"),
      }),
    );
  });

  test("JSON; names that are no text are escaped", () => {
    make("", "echo > \"$(printf 'a\\377')\"; mkfifo pipe");
    expect(JSON.parse(run("diff", "--pristine", "p/", "--current", "c", "--json").stdout)).toEqual({
      version: 1,
      changes: [
        { path: "a\\xff", change: "added", type: "file" },
        { path: "pipe", change: "added", type: "fifo" },
      ],
      sockets: [],
      mounts: [],
    });
  });

  test("nothing was changed", () => {
    make("echo 1 > f", "echo 1 > f");
    expect(run("diff", "--pristine", "p", "--current", "c").stdout).toBe("no changes\n");
  });

  test("wrong usage, and a directory that is not there", () => {
    expect(run("diff")).toMatchObject({
      status: 2,
      stderr: expect.stringContaining(
        "--pristine is missing: what the machine's image has in /etc",
      ),
    });
    expect(run("diff", "--pristine", "nowhere")).toMatchObject({
      status: 1,
      stderr: "cfsboot: error: openat nowhere: No such file or directory\n",
    });
  });

  test("without privileges: what cannot be read is said, the rest is compared", (ctx) => {
    if (!isRoot) ctx.skip(NOT_ROOT);
    const secrets = "echo secret > shadow; chmod 600 shadow; mkdir -m 700 ssl; echo > ssl/key";
    make(`${secrets}; echo 1 > f`, `${secrets}; echo 2 > f`);
    const args = [CFSBOOT, "etc", "diff", "--pristine", "p", "--current", "c"];
    const options = { cwd: dir.path, encoding: "utf8", uid: NOBODY, gid: NOBODY } as const;
    const { stdout, stderr } = spawnSync(process.execPath, args, options);
    expect(stderr).toBe("");
    expect(stdout.split("\n").slice(1, -1)).toEqual([
      "modified    file       f       content",
      "unreadable  file       shadow",
      "unreadable  directory  ssl",
    ]);
  });

  test("mounts are looked beneath, or named", (ctx) => {
    if (!isRoot) ctx.skip(NOT_ROOT);
    make("echo 1 > f; echo 1 > g", "echo 2 > f; echo 1 > g");
    dir.make("other", "echo mounted > f");
    const mounted = (before: string) =>
      spawnSync(
        "unshare",
        [
          "--mount",
          "sh",
          "-ec",
          `mount --bind other/f c/f; mount --bind other/f c/g; ${before} "$@"`,
          "sh",
          ...[process.execPath, CFSBOOT, "etc", "diff", "--pristine", "p", "--current", "c"],
        ],
        { cwd: dir.path, encoding: "utf8" },
      );
    const seen = mounted("exec");
    if (/unshare|mount:/.test(seen.stderr)) ctx.skip("no mount namespaces here");
    expect(seen).toMatchObject({
      stderr: "",
      stdout: expect.stringContaining("modified  file  f"),
    });
    expect(seen.stdout).not.toContain("g");
    const without = mounted("exec setpriv --bounding-set -sys_admin --inh-caps -sys_admin");
    expect(without.stdout).toBe("no changes\n");
    expect(without.stderr).toContain("cfsboot: warning: c/f is a mount");
  });
});

describe("conflicts", () => {
  test("those that stop the merge: exit status 1", () => {
    make("echo p > both; echo p > f", "echo c > both; echo c > f", "echo n > both; mkdir f");
    expect(run("conflicts", ...THREE)).toMatchObject({
      status: 1,
      stdout: [
        "KEPT   PATH  CONFLICT",
        "local  both  changed here, and otherwise in the new image",
        "none   f     a file here, and a directory in the new image",
        "",
      ].join("\n"),
      stderr: [
        "cfsboot: error: 1 conflict(s) in /etc stop the merge",
        "hint: --etc-conflicts=keep-local, take-image or merge decides",
        "",
      ].join("\n"),
    });
    expect(run("conflicts", ...THREE, "--json")).toMatchObject({ status: 0 });
    const merged = run("conflicts", ...THREE, "--etc-conflicts", "merge");
    expect(merged.status).toBe(0);
    expect(merged.stdout).toContain(
      "beside  f     a file here, and a directory in the new image: see f.cfsboot-conflict",
    );
  });

  test("none", () => {
    make("echo p > f", "echo c > f");
    expect(run("conflicts", ...THREE)).toMatchObject({ status: 0, stdout: "no conflicts\n" });
  });

  test("a strategy that there is not", () => {
    expect(run("conflicts", ...THREE, "--etc-conflicts", "replace")).toMatchObject({ status: 2 });
  });
});

describe("merge", () => {
  beforeEach(() =>
    make("echo p > f; echo p > g", "echo c > f; echo p > g", "echo p > f; echo n > g"),
  );

  test("makes the directory and nothing else", () => {
    const { status, stdout } = run("merge", ...THREE, "out");
    expect({ status, stdout }).toEqual({
      status: 0,
      stdout: [
        "beside the new image's /etc:",
        "CHANGE    TYPE  PATH  DIFFERS",
        "modified  file  f     content",
        "",
      ].join("\n"),
    });
    expect(["f", "g"].map((name) => readFileSync(join(dir.path, "out", name), "utf8"))).toEqual([
      "c\n",
      "n\n",
    ]);
    expect(readdirSync(dir.path).sort()).toEqual(["c", "n", "out", "p"]);
  });

  test("--dry-run makes nothing", () => {
    const { stdout } = run("merge", ...THREE, "--dry-run", "--json", "out");
    expect(JSON.parse(stdout)).toMatchObject({ outcome: "merged", steps: [{ path: "f" }] });
    expect(existsSync(join(dir.path, "out"))).toBe(false);
  });

  test.each(["out", "out.new"])("touches no %s that is there", (name) => {
    dir.make(name, "echo > mine");
    expect(run("merge", ...THREE, "out")).toMatchObject({
      status: 1,
      stderr: `cfsboot: error: merge into out: there already is ${name}\n`,
    });
    expect(readdirSync(join(dir.path, name))).toEqual(["mine"]);
  });
});
