/** Installations that fail, or are cut off: the next one goes on. In mount namespaces, which only root may make. */
import { spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { osLayer } from "../deployment/machine.ts";
import { image, writeLayout } from "../oci/fixtures/images.ts";

const CFSBOOT = join(import.meta.dirname, "../../dist/cfsboot.mjs");
const directory = mkdtempSync(join(tmpdir(), "cfsboot-unfinished-"));
afterAll(() => rmSync(directory, { recursive: true }));
const canMount = spawnSync("unshare", ["--mount", "true"]).status === 0;

beforeAll(() => {
  for (const version of ["13", "14"]) {
    const layout = join(directory, version);
    mkdirSync(layout);
    const path = "usr/lib/systemd/boot/efi/";
    const data = Buffer.from("#### LoaderInfo: systemd-boot 257 ####");
    const files = [
      ...["usr/lib/systemd/", "usr/lib/systemd/boot/", path].map((parent) => ({ path: parent })),
      { path: `${path}systemd-bootx64.efi`, data },
    ];
    const tar = osLayer({ version, kernel: version, files });
    writeLayout(layout, [{ image: image([{ tar, compression: "none" }]), tag: "os" }]);
  }
});

beforeEach((ctx) => {
  if (!canMount) ctx.skip("no mount namespace can be made here: that takes root");
});

function install(root: string, version: string, ...more: string[]) {
  mkdirSync(join(root, "efi"), { recursive: true });
  const script = 'mount --bind "$0" "$0" && mount --bind "$0/efi" "$0/efi" && exec "$@"';
  const options = ["--source-imgref", `oci:${directory}/${version}:os`, "--esp", `${root}/efi`];
  const cfsboot = [process.execPath, CFSBOOT, "install", "to-filesystem", root, ...options];
  const fixed = ["--allow-missing-verity", "--root-mount-spec", "LABEL=x"];
  return spawnSync(
    "unshare",
    ["--mount", "sh", "-c", script, root, ...cfsboot, ...fixed, ...more],
    { encoding: "utf8" },
  );
}

const installed = (root: string) => ({
  root: readdirSync(root).sort(),
  states: readdirSync(join(root, "state/deploy")),
  kernels: readdirSync(join(root, "efi/EFI/Linux")),
  entries: readdirSync(join(root, "efi/loader/entries")).length,
});
const LEFT = { root: [".bootc-aleph.json", "composefs", "efi", "state"], entries: 1 };

test("what could not be fetched, with what was, is no content", { timeout: 60_000 }, () => {
  const root = join(directory, "fetch");
  const blobs = join(directory, "13/blobs/sha256");
  const manifest = JSON.parse(readFileSync(join(directory, "13/index.json"), "utf8")).manifests[0];
  const { layers } = JSON.parse(
    readFileSync(join(blobs, manifest.digest.replace("sha256:", "")), "utf8"),
  );
  const layer = join(blobs, layers[0].digest.replace("sha256:", ""));
  renameSync(layer, `${layer}.away`);
  const failed = install(root, "13");
  renameSync(`${layer}.away`, layer);
  expect(failed.status).toBe(1);
  expect(existsSync(join(root, "composefs"))).toBe(true);
  const { status, stdout, stderr } = install(root, "13");
  expect({ status, stderr }).toMatchObject({ status: 0 });
  expect(stdout).toContain("go on with what an installation that was not finished has left");
  expect(installed(root)).toMatchObject(LEFT);
  const [id] = readdirSync(join(root, "state/deploy"));
  expect(installed(root)).toMatchObject({ states: [id], kernels: [`bootc_composefs-${id}`] });

  // and what is finished is somebody's
  expect(install(root, "13")).toMatchObject({
    status: 1,
    stderr: expect.stringContaining("is not empty: there is "),
  });
});

test("a deployment that was never finished is not in the menu of another one", {
  timeout: 60_000,
}, () => {
  const root = join(directory, "loader");
  // where the boot loader is to be
  mkdirSync(join(root, "efi/EFI"), { recursive: true });
  writeFileSync(join(root, "efi/EFI/BOOT"), "");
  expect(install(root, "13")).toMatchObject({ status: 1 });
  const [first] = readdirSync(join(root, "state/deploy"));
  rmSync(join(root, "efi/EFI/BOOT"));
  const { status, stderr } = install(root, "14");
  expect({ status, stderr }).toMatchObject({ status: 0 });
  const [id] = readdirSync(join(root, "state/deploy"));
  expect(id).not.toBe(first);
  expect(installed(root)).toEqual({
    ...LEFT,
    states: [id],
    kernels: [`bootc_composefs-${id}`],
  });
});

test("what somebody else has put there is content all the same; an empty boot is not", {
  timeout: 60_000,
}, () => {
  const root = join(directory, "foreign");
  mkdirSync(join(root, "boot"), { recursive: true });
  expect(install(root, "13", "--dry-run")).toMatchObject({ status: 0 });
  writeFileSync(join(root, ".cfsboot-unfinished"), "repository\n");
  writeFileSync(join(root, "letter"), "");
  expect(install(root, "13")).toMatchObject({
    status: 1,
    stderr: expect.stringContaining(`is not empty: there is ${root}/letter`),
  });
});
