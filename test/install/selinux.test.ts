/** What an installation makes has the labels of the image's SELinux policy. */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parseFileContexts } from "../../src/formats/file-contexts.ts";
import { AT_FDCWD } from "../../src/linux/constants.ts";
import { withDirectory } from "../../src/linux/directories.ts";
import { Labels } from "../../src/model/selinux/labels.ts";
import { labelOwn, labelShared } from "../../userspace/install/labels.ts";
import { NotedXattrs } from "../../userspace/install/noted-xattrs.ts";
import { linux as realLinux } from "../../userspace/linux.ts";
import { osLayer } from "../deployment/machine.ts";
import { image, tar as tarOf, writeLayout } from "../oci/fixtures/images.ts";
import { extract, partitionsOf, run } from "./disk-image.ts";

const directory = mkdtempSync(join(tmpdir(), "cfsboot-selinux-"));
afterAll(() => rmSync(directory, { recursive: true }));

const CONTEXTS = `
/.*                      system_u:object_r:default_t:s0
/                        system_u:object_r:root_t:s0
/usr(/.*)?               system_u:object_r:usr_t:s0
/boot(/.*)?              system_u:object_r:boot_t:s0
/etc(/.*)?               system_u:object_r:etc_t:s0
/etc/machine-id       -- system_u:object_r:machineid_t:s0
/etc/tmpfiles.d/.*    -- system_u:object_r:tmpfiles_t:s0
/var(/.*)?               system_u:object_r:var_t:s0
/var/a"b              -- system_u:object_r:quoted_t:s0
`;

beforeAll(() => {
  const layout = join(directory, "layout");
  mkdirSync(layout);
  const directories = ["etc/selinux/", "targeted/", "contexts/", "files/"];
  const paths = directories.map((_, i) => directories.slice(0, i + 1).join(""));
  const tar = osLayer({
    version: "13",
    files: [
      ...paths.map((path) => ({ path })),
      { path: "etc/selinux/config", data: "SELINUXTYPE=targeted\n" },
      { path: "etc/selinux/targeted/contexts/files/file_contexts", data: CONTEXTS },
      { path: "root", type: "2", link: "var/roothome" },
    ],
  });
  const data = tarOf([{ path: "var/" }, { path: 'var/a"b', data: "of the image\n", uid: 7 }]);
  const layers = [tar, data].map((each) => ({ tar: each, compression: "none" as const }));
  writeLayout(layout, [{ image: image(layers), tag: "os" }]);
});

function check(disk: string): void {
  const root = extract(disk, partitionsOf(disk)[1]!, directory, "root");
  try {
    run("e2fsck", "-fn", root);
    const debugfs = (request: string) => run("debugfs", "-R", request, root);
    const label = (path: string) =>
      /:(\w+_t):s0/.exec(debugfs(`ea_get "${path.replaceAll('"', '""')}" security.selinux`))?.[1];
    const names = (path: string) =>
      debugfs(`ls -p ${path}`)
        .split("\n")
        .map((line) => line.split("/")[5] ?? "")
        .filter((name) => !["", ".", ".."].includes(name));
    const id = names("/state/deploy").find((name) => /^[0-9a-f]{128}$/.test(name));
    const object = names("/composefs/objects")[0];
    const state = `/state/deploy/${id}`;
    const labels = Object.fromEntries(
      [
        ...["/", "/boot", "/composefs", `/composefs/objects/${object}`, "/composefs/meta.json"],
        ...[state, `${state}/${id}.origin`, `${state}/var`],
        ...[`${state}/etc`, `${state}/etc/hostname`, `${state}/etc/machine-id`],
        ...[`${state}/etc/tmpfiles.d`, `${state}/etc/tmpfiles.d/cfsboot-root-ssh.conf`],
        ...["/state/os/default", "/state/os/default/var", '/state/os/default/var/a"b'],
      ].map((path) => [path.replaceAll(id ?? "", "ID"), label(path)]),
    );
    expect(labels).toEqual({
      "/": "root_t",
      "/boot": "boot_t",
      "/composefs": "usr_t",
      [`/composefs/objects/${object}`]: "usr_t",
      "/composefs/meta.json": "usr_t",
      "/state/deploy/ID": "default_t",
      "/state/deploy/ID/ID.origin": "default_t",
      "/state/deploy/ID/var": "default_t",
      "/state/deploy/ID/etc": "etc_t",
      "/state/deploy/ID/etc/hostname": "etc_t",
      "/state/deploy/ID/etc/machine-id": "machineid_t",
      "/state/deploy/ID/etc/tmpfiles.d": "etc_t",
      "/state/deploy/ID/etc/tmpfiles.d/cfsboot-root-ssh.conf": "tmpfiles_t",
      "/state/os/default": "default_t",
      "/state/os/default/var": "var_t",
      '/state/os/default/var/a"b': "quoted_t",
    });
  } finally {
    rmSync(root);
  }
}

const CFSBOOT = join(import.meta.dirname, "../../dist/cfsboot.mjs");
const ARGUMENTS = [
  ...["--source-imgref", `oci:${directory}/layout:os`, "--bootloader", "none"],
  ...["--size", "1G", "--esp-size", "100M", "--generic-image"],
];

function keys(): string[] {
  const path = join(directory, "keys");
  writeFileSync(path, "ssh-ed25519 AAAA root@example\n");
  return ["--root-ssh-authorized-keys", path];
}

test("in an image of a disk, all that is made has a label (bootc#2543)", () => {
  const disk = join(directory, "disk.raw");
  const args = ["install", "to-disk", ...ARGUMENTS, ...keys(), disk];
  const { status, stderr } = spawnSync(process.execPath, [CFSBOOT, ...args], { encoding: "utf8" });
  expect({ status, stderr }).toMatchObject({ status: 0, stderr: expect.any(String) });
  check(disk);
  rmSync(disk);
});

test("/boot, which is not only the installation's, keeps the labels that it has", () => {
  const root = join(directory, "shared");
  mkdirSync(join(root, "boot/mine"), { recursive: true });
  mkdirSync(join(root, "composefs/objects"), { recursive: true });
  mkdirSync(join(root, "home"));
  const { linux } = new NotedXattrs(realLinux);
  const labels = new Labels(parseFileContexts(Buffer.from(CONTEXTS), "file_contexts"));
  const set = (path: string, label: string) =>
    linux.lsetxattr(join(root, path), "security.selinux", Buffer.from(label), 0);
  set("boot/mine", "mine");
  set("boot", "system_u:object_r:unlabeled_t:s0"); // as a kernel with SELinux says
  set("composefs", "by the kernel");
  withDirectory(linux, AT_FDCWD, root, (fd) => {
    labelOwn(linux, fd, labels);
    labelShared(linux, fd, labels);
  });
  const get = (path: string) => {
    const names = linux.llistxattr(join(root, path));
    if (names.length === 0) return undefined;
    return Buffer.from(linux.lgetxattr(join(root, path), "security.selinux")).toString();
  };
  const paths = [".", "boot", "boot/mine", "composefs", "composefs/objects", "home"];
  expect(paths.map(get)).toEqual([
    "system_u:object_r:root_t:s0",
    "system_u:object_r:boot_t:s0",
    "mine",
    "system_u:object_r:usr_t:s0",
    "system_u:object_r:usr_t:s0",
    undefined,
  ]);
});
