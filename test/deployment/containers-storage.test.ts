/** What bootc has put into its containers-storage, on a machine that cfsboot has taken over. */
import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, expect, test } from "vitest";
import { succeed } from "../cli/on-machine.ts";
import { TestMachine } from "./machine.ts";

/** As bootc runs podman on it. */
const PODMAN = `
mkdir -p /run/bootc/storage
exec 3</run/bootc/storage
mount --bind "$1" /run/bootc/storage || exit
shift
exec podman --root /run/bootc/storage --runroot /proc/self/fd/3 "$@"
`;

function podman(machine: TestMachine, ...args: string[]) {
  const storage = join(machine.path, "sysroot/composefs/bootc/storage");
  mkdirSync(storage, { recursive: true });
  return spawnSync(
    "unshare",
    ["--mount", "--propagation", "private", "sh", "-c", PODMAN, "sh", storage, ...args],
    { encoding: "utf8" },
  );
}

beforeEach((ctx) => {
  const { status } = spawnSync("unshare", ["--mount", "podman", "--version"]);
  if (status !== 0) ctx.skip("no podman, or nobody may mount here");
});

test("gc removes images that no deployment is of or is bound to, and tells so before", async (ctx) => {
  using machine = new TestMachine();
  const quadlet = "usr/share/containers/systemd";
  await machine.stage({
    version: "1",
    files: [
      ...[
        "usr/share/",
        "usr/share/containers/",
        `${quadlet}/`,
        "usr/lib/bootc/bound-images.d/",
      ].map((path) => ({ path })),
      { path: `${quadlet}/app.container`, data: "[Container]\nImage=example.org/app\n" },
      {
        path: "usr/lib/bootc/bound-images.d/app.container",
        type: "2",
        link: "../../../share/containers/systemd/app.container",
      },
    ],
  });
  machine.boot();
  const archive = join(machine.path, "image.tar");
  for (const name of ["example.org/os:13", "example.org/os:12", "example.org/app:latest"]) {
    writeFileSync(join(machine.path, "file"), name);
    spawnSync("tar", ["--create", "--file", archive, "--directory", machine.path, "file"]);
    const { status, stderr } = podman(machine, "import", archive, name);
    if (status !== 0) ctx.skip(`podman has no storage here: ${stderr.trim()}`);
  }
  podman(machine, "tag", "example.org/os:12", "example.org/os:old");
  const names = () => {
    const images = JSON.parse(podman(machine, "image", "list", "--format=json").stdout);
    return [...new Set((images as { Names: string[] }[]).flatMap(({ Names }) => Names))].sort();
  };
  const all = names();
  expect(all).toHaveLength(4);
  const told = "remove image example.org/os:12 from bootc's containers-storage\n";
  expect(succeed(machine, "gc", "--dry-run")).toContain(told);
  expect(names()).toEqual(all);
  expect(succeed(machine, "gc")).toContain(told);
  expect(names()).toEqual(["example.org/app:latest", "example.org/os:13"]);
  expect(succeed(machine, "gc")).not.toContain("containers-storage");
});
