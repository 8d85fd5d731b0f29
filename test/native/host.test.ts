/** The host of the initramfs program: what becomes of errors, promises, output and arguments. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { buildExecutable } from "../../scripts/build/quickjs.mjs";

const root = fileURLToPath(new URL("../..", import.meta.url));
const temporary = mkdtempSync(join(tmpdir(), "host-"));
afterAll(() => rmSync(temporary, { recursive: true, force: true }));

/** One program for all: the first argument says what it does. */
const PROGRAM = `
import { parse } from "${root}node_modules/smol-toml/dist/index.js";
import { runtime } from "${root}initrd/host.ts";
import { linux } from "${root}initrd/linux.ts";

const nested = (depth: number): Error =>
  depth === 0 ? new Error("cause 0") : new Error("cause " + depth, { cause: nested(depth - 1) });
function deep(n: number): number {
  if (n === 0) throw new TypeError("at the bottom");
  return 1 + deep(n - 1);
}
const ends: Record<string, () => unknown> = {
  end: () => runtime.stdout("done\\n"),
  exit: () => runtime.exit(7),
  arguments: () => runtime.stdout(runtime.args.join("|") + "\\n"),
  output() {
    runtime.stdout("größe 😀".repeat(10_000));
    runtime.stderr("to stderr\\n");
  },
  throw() {
    throw new Error("outer", { cause: new Error("middle", { cause: new Error("inner") }) });
  },
  call() {
    try {
      linux.openat(-100, "/none/file", 0);
    } catch (cause) {
      throw new Error("open it", { cause });
    }
  },
  chain() {
    throw nested(40);
  },
  circle() {
    const a = new Error("a");
    a.cause = new Error("b", { cause: a });
    throw a;
  },
  lines() {
    throw new Error("one\\ntwo\\n".repeat(100));
  },
  long() {
    throw new Error("x".repeat(1_000_000));
  },
  fault: () => deep(3),
  deepFault() {
    try {
      deep(200);
    } catch (cause) {
      throw new Error("outer", { cause: new Error("middle", { cause }) });
    }
  },
  overflow: () => deep(1e9),
  string() {
    throw "only text";
  },
  object() {
    throw { toString: () => { throw new Error("no"); } };
  },
  getter() {
    throw Object.defineProperty(new Error("m"), "cause", { get() { throw new Error("no"); } });
  },
  reject: () => void Promise.reject(new Error("nobody looks", { cause: new Error("why") })),
  rejectLater: () => void Promise.resolve().then(() => { throw new Error("later"); }),
  rejectExit() {
    Promise.reject(new Error("hidden"));
    runtime.exit(0);
  },
  handled: () => void Promise.reject(new Error("caught")).catch(() => runtime.stdout("caught\\n")),
  handledLate() {
    const promise = Promise.reject(new Error("caught"));
    void Promise.resolve().then(() => promise.catch(() => runtime.stdout("caught\\n")));
  },
  settles: async () => { await null; runtime.stdout("settled\\n"); },
  pending: () => new Promise(() => {}),
  rejects: async () => { await null; throw new Error("rejected"); },
  toml: () => runtime.stdout(JSON.stringify(parse("[etc]\\nmount = 'bind'\\nn = [1, 2.5, true]\\n"))),
  tomlDate: () => parse("\\nwhen = 2026-01-02T03:04:05Z\\n"),
  property: () => runtime.stdout(String(/^\\p{Lu}\\p{L}+$/u.test("Ärger"))),
  newProperty: () => new RegExp("\\\\p{Lu}", "u"),
  regexp: () => runtime.stdout("a1b22c".split(new RegExp("[0-9]+")).join("|")),
  math: () => runtime.stdout([2 ** 0.5, Math.sqrt(2), Math.floor(-1.5), Math.pow(2, 40), Math.log10(1000), 7 % 4].join(" ")),
  sine: () => runtime.stdout(String((globalThis as any)["Math"].sin(1))),
};
await ends[runtime.args[0]!]!();
`;

const engines = ["bellard", "ng"] as const;

describe.each(engines)("%s", (engine) => {
  const program = join(temporary, engine, "prog");
  let missing: string | undefined;
  beforeAll(async () => {
    const entry = join(temporary, `${engine}.ts`);
    writeFileSync(entry, PROGRAM);
    try {
      await buildExecutable({ entry, output: program, engine });
    } catch (error) {
      missing = (error as Error).message;
      if (engine === "bellard" || !/apt-get|apt-cache|mirror/.test(missing)) throw error;
    }
  }, 300_000);

  function run(...args: string[]) {
    const { status, stdout, stderr } = spawnSync(program, args, {
      encoding: "utf8",
      timeout: 30_000,
    });
    return { status, stdout, stderr };
  }
  const ok = (stdout: string) => ({ status: 0, stdout, stderr: "" });
  const failed = (stderr: string) => ({
    status: 1,
    stdout: "",
    stderr: `prog: error: ${stderr}\n`,
  });
  /** A test that is skipped where the engine could not be had. */
  const check = (name: string, body: () => void) =>
    test(name, ({ skip }) => {
      if (missing !== undefined) return skip(`no source of the engine: ${missing}`);
      return body();
    });

  check("a program that ends, ends with 0", () => {
    expect(run("end")).toEqual(ok("done\n"));
    expect(run("settles")).toEqual(ok("settled\n"));
    expect(run("exit")).toEqual({ status: 7, stdout: "", stderr: "" });
  });

  check("arguments and output are UTF-8, and output is complete", () => {
    expect(run("arguments", "grün", "", "a b")).toEqual(ok("arguments|grün||a b\n"));
    expect(run("output")).toEqual({
      status: 0,
      stdout: "größe 😀".repeat(10_000),
      stderr: "to stderr\n",
    });
  });

  check("an uncaught error is told with all its causes on one line", () => {
    expect(run("throw")).toEqual(failed("outer: middle: inner"));
    expect(run("call")).toEqual(failed("open it: openat /none/file: No such file or directory"));
    const causes = Array.from({ length: 41 }, (_, i) => `cause ${40 - i}`);
    expect(run("chain")).toEqual(failed(causes.join(": ")));
  });

  check("whatever is thrown, the report is short and ends", () => {
    const circle = run("circle");
    expect(circle.status).toBe(1);
    expect(circle.stderr).toMatch(/^prog: error: a: b: a: b[ab: ]*\n$/);
    expect(run("lines").stderr.split("\n")).toHaveLength(2);
    expect(run("long").stderr.length).toBeLessThan(20_000);
    expect(run("string")).toEqual(failed("only text"));
    expect(run("object")).toEqual(failed("(unprintable)"));
    expect(run("getter")).toEqual(failed("m"));
  });

  check("a fault of the program is told with its place, in at most 20 lines", () => {
    const fault = run("fault");
    expect(fault.status).toBe(1);
    expect(fault.stderr).toMatch(
      /^prog: error: TypeError: at the bottom\n {4}at deep \(prog\.mjs:\d+/,
    );
    const { status, stderr } = run("deepFault");
    expect(status).toBe(1);
    expect(stderr).toMatch(/^prog: error: outer: middle: TypeError: at the bottom\n/);
    expect(stderr).toMatch(/ {4}at deep \(prog\.mjs:\d+/);
    // quickjs-ng itself keeps ten frames.
    if (engine === "bellard") expect(stderr).toMatch(/\.\.\. and \d+ more\n$/);
    expect(stderr.trimEnd().split("\n").length).toBeLessThanOrEqual(20);
    const overflow = run("overflow");
    expect(overflow.status).toBe(1);
    expect(overflow.stderr.trimEnd().split("\n").length).toBeLessThanOrEqual(20);
    expect(overflow.stderr).toMatch(/^prog: error: \w+Error: .*stack/);
  });

  check("a rejected promise that nobody handles is an error", () => {
    expect(run("reject")).toEqual(failed("nobody looks: why"));
    expect(run("rejectLater")).toEqual(failed("later"));
    expect(run("rejectExit")).toEqual(failed("hidden"));
    expect(run("rejects")).toEqual(failed("rejected"));
    expect(run("handled")).toEqual(ok("caught\n"));
    expect(run("handledLate")).toEqual(ok("caught\n"));
  });

  check("an await that never settles is an error", () => {
    const { status, stderr } = run("pending");
    expect(status).toBe(1);
    expect(stderr).toMatch(/^prog: error: .*await.*\n$/);
  });

  check("the TOML parser works, and a date is an error", () => {
    expect(run("toml")).toEqual(ok('{"etc":{"mount":"bind","n":[1,2.5,true]}}'));
    const { status, stderr } = run("tomlDate");
    expect(status).toBe(1);
    expect(stderr).toMatch(/^prog: error: Invalid TOML document: invalid (date|value)/i);
  });

  check("what was left out of the engine says so, and the rest is there", () => {
    expect(run("property")).toEqual(ok("true"));
    expect(run("regexp")).toEqual(ok("a|b|c"));
    expect(run("math")).toEqual(ok("1.4142135623730951 1.4142135623730951 -2 1099511627776 3 3"));
    expect(run("newProperty").status).toBe(1);
    expect(run("newProperty").stderr).toMatch(/^prog: error: SyntaxError: /);
    expect(run("sine")).toMatchObject({ status: 1, stdout: "" });
    expect(run("sine").stderr).toContain("Math.sin");
  });
});
