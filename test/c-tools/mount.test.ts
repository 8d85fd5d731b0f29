/** mount.composefs: real mounts, in a mount namespace of their own. */
import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, type TestContext, test } from "vitest";
import { Tools } from "./tools.ts";

const ZERO = "0".repeat(64);
const CONTENT = "content ".repeat(50);

let tools: Tools;
let refused: string | undefined;

beforeAll(() => {
  tools = new Tools();
  for (const name of ["tree/d", "mnt", "upper", "work"]) {
    mkdirSync(join(tools.scratch, name), { recursive: true });
  }
  writeFileSync(join(tools.scratch, "tree/d/file"), CONTENT);
  tools.run("mkcomposefs", ["--digest-store=a,b:c", "tree", "image"]);
  const { status, stderr } = mounted("basedir=a\\,b\\:c", ":");
  if (status !== 0) refused = `no composefs mounts here: ${stderr.trim().split("\n").at(-1)}`;
});
afterAll(() => tools.remove());

/** Mounts the image, and runs a shell command beside the mount point `mnt`. */
function mounted(options: string, command: string) {
  const script = `"$0" ./mount.composefs -o "$1" image mnt && ${command}`;
  const args = ["--mount", "sh", "-c", script, process.execPath, options];
  const { status, stdout, stderr } = spawnSync("unshare", args, {
    cwd: tools.scratch,
    encoding: "utf8",
  });
  return { status, stdout, stderr };
}

function skipWithoutMounts(ctx: TestContext): void {
  if (refused !== undefined) ctx.skip(refused);
}

const done = (stdout: string) => ({ status: 0, stdout, stderr: "" });
const failed = (line: string) => ({
  status: 1,
  stdout: "",
  stderr: `mount.composefs: ${line}\n`,
});

describe("a mount", () => {
  test("shows the files, from a directory with commas and colons in its name", (ctx) => {
    skipWithoutMounts(ctx);
    expect(mounted("ro,basedir=/usr:a\\,b\\:c", "cat mnt/d/file")).toEqual(done(CONTENT));
    expect(mounted("basedir=a\\,b\\:c,tryverity", "ls mnt")).toEqual(done("d\n"));
  });

  test("takes changes into the upper directory; not if it is read-only", (ctx) => {
    skipWithoutMounts(ctx);
    const layers = "basedir=a\\,b\\:c,upperdir=upper,workdir=work";
    expect(mounted(layers, "echo new > mnt/d/new && cat upper/d/new")).toEqual(done("new\n"));
    const { status, stderr } = mounted(`${layers},ro`, "echo new > mnt/d/newer");
    expect(status).not.toBe(0);
    expect(stderr).toMatch(/[Rr]ead-only file system/);
  });

  test("shows users as another user namespace has them", (ctx) => {
    skipWithoutMounts(ctx);
    const script = `unshare --user sleep 60 & user=$!; sleep 0.5
echo "0 1000 10" > /proc/$user/uid_map; echo "0 1000 10" > /proc/$user/gid_map
"$0" ./mount.composefs -o "basedir=a\\,b\\:c,ro,idmap=/proc/$user/ns/user" image mnt
stat -c %u mnt/d; kill $user`;
    const args = ["--mount", "sh", "-c", script, process.execPath];
    const { stdout, stderr } = spawnSync("unshare", args, { cwd: tools.scratch, encoding: "utf8" });
    if (stderr.includes("unshare: ")) ctx.skip(`no user namespaces here: ${stderr.trim()}`);
    expect({ stdout, stderr }).toEqual({ stdout: "1000\n", stderr: "" });
  });
});

describe("what is refused", () => {
  const mount = (options: string) => tools.run("mount.composefs", ["image", "mnt", "-o", options]);

  test("an image that has not the digest asked for", () => {
    const result = mount(`basedir=tree,digest=${ZERO}`);
    expect(result.stderr).toMatch(
      /^mount.composefs: Failed to mount composefs image: Image has (no|wrong) fs-verity\n$/,
    );
    expect(result.status).toBe(1);
  });

  test.for([
    ["basedir=tree,foo", "unsupported option foo"],
    ["basedir", "no value specified for the option basedir"],
    ["basedir=tree:", "basedir=tree:: empty path"],
    ["basedir=tree,digest=00", "digest=00: expected 64 hex digits of sha256 (or 128 of sha512)"],
    ["basedir=tree,upperdir=tree", "both workdir and upperdir must be specified if used"],
    ["basedir=none", "Failed to mount composefs image: openat none: No such file or directory"],
  ] as const)("%s", ([options, line]) => {
    expect(mount(options)).toEqual(failed(line));
  });

  test("another type, and missing arguments, with the usage", () => {
    const typed = ["-t", "ext4", "-o", "basedir=tree", "image", "mnt"];
    expect(tools.run("mount.composefs", typed)).toEqual(failed("unsupported fs type 'ext4'"));
    for (const args of [[], ["image"], ["image", "mnt"]]) {
      const { status, stderr } = tools.run("mount.composefs", args);
      expect(status).toBe(1);
      expect(stderr).toMatch(/^mount.composefs: no .* specified\nusage: mount.composefs /);
    }
  });
});
