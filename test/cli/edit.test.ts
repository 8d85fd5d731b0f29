/** `cfsboot edit` with an editor: programs that do with the file what a person might, or what happens meanwhile. */
import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { HostStatus } from "../../src/model/host-status.ts";
import { linux } from "../../userspace/linux.ts";
import type { TestMachine } from "../deployment/machine.ts";
import { fail, optionsOf, succeed } from "./on-machine.ts";
import { installed, publishIn } from "./publish.ts";

const CFSBOOT = join(import.meta.dirname, "../../dist/cfsboot.mjs");

beforeEach((ctx) => {
  if (linux.geteuid() !== 0) ctx.skip("not root: the owners in /etc cannot be made");
});
afterEach(() => {
  vi.unstubAllEnvs();
});

/** What the editor is: a script, whose first argument is the file. */
function editWith(machine: TestMachine, script: string): void {
  vi.stubEnv("VISUAL", `sh -c '${script}' editor`);
  vi.stubEnv("TMPDIR", join(machine.path, "tmp"));
  mkdirSync(join(machine.path, "tmp"), { recursive: true });
}

/** The files that are left. */
function kept({ path }: TestMachine): string[] {
  return readdirSync(join(path, "tmp"), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

const imageOf = (machine: TestMachine) =>
  (JSON.parse(succeed(machine, "status", "--json")) as HostStatus).spec.image!.image;

/** Publishes an image, by default the one that runs, in a directory of this name. */
function elsewhere({ path }: TestMachine, name: string, version = "1"): string {
  mkdirSync(join(path, name));
  return publishIn(join(path, name), { version });
}

test("what is edited is done, and nothing is left of it", async () => {
  using machine = await installed();
  editWith(machine, "true $1");
  expect(succeed(machine, "edit")).toBe("Edit cancelled, no changes made.\n");
  elsewhere(machine, "next", "2");
  editWith(machine, `sed -i s,${machine.path}/published,${machine.path}/next/published, $1`);
  expect(succeed(machine, "edit")).toMatch(/^Queued for next boot: oci:.*next\/published:os$/m);
  expect(kept(machine)).toEqual([]);
});

test("what another command has changed meanwhile is not undone; what was edited stays, and can be taken again", async () => {
  using machine = await installed();
  const [theirs, mine] = [elsewhere(machine, "theirs"), elsewhere(machine, "mine")];
  const options = optionsOf(machine).join(" ");
  const other = `${process.execPath} ${CFSBOOT} switch --in-place oci:${theirs} ${options}`;
  const edit = `sed -i s,${machine.path}/published,${machine.path}/mine/published, $1`;
  editWith(machine, `${other} >&2 && ${edit}`);
  const said = fail(machine, "edit");
  const [path] = kept(machine);
  expect(said).toContain(
    `cfsboot: error: what was edited is kept in ${path}: another command has changed spec.image meanwhile: nothing is done\nhint: cfsboot edit --filename ${path} takes it again\n`,
  );
  expect(imageOf(machine)).toBe(theirs);
  expect(readFileSync(path!, "utf8")).toContain(mine);
  // that the deployment has the image is another matter
  expect(fail(machine, "edit", "--filename", path!)).toContain("has this image already");
});

test("a document that is wrong, and one of an editor that fails, stay; one that nobody has touched does not", async () => {
  using machine = await installed();
  editWith(machine, "false $1");
  expect(fail(machine, "edit")).toContain("has failed: nothing is changed\n");
  expect(kept(machine)).toEqual([]);
  editWith(machine, "sed -i s/default/never/ $1");
  expect(fail(machine, "edit")).toMatch(
    /^cfsboot: error: what was edited is kept in .*: spec.bootOrder: expected default or rollback\n/,
  );
  editWith(machine, "echo typed >> $1; false");
  expect(fail(machine, "edit")).toContain("has failed: nothing is changed\n");
  expect(kept(machine)).toHaveLength(2);
});
