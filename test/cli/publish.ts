/** Images where a test's machine gets its upgrades from, and such a machine. */
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { untagImage } from "../../userspace/oci/image.ts";
import { type OsImage, osLayer, TestMachine } from "../deployment/machine.ts";
import { image, writeLayout } from "../oci/fixtures/images.ts";

/** Publishes it in place of the one before; returns the name that comes after `oci:`. */
export function publishIn(
  directory: string,
  os: OsImage,
  compression: "gzip" | "zstd" = "gzip",
): string {
  const layout = join(directory, "published");
  rmSync(layout, { recursive: true, force: true });
  mkdirSync(layout);
  writeLayout(layout, [{ image: image([{ tar: osLayer(os), compression }]), tag: "os" }]);
  return `${layout}:os`;
}

/** A machine that runs version 1, and follows what is published. */
export async function installed(): Promise<TestMachine> {
  const machine = new TestMachine();
  const name = publishIn(machine.path, { version: "1" });
  await machine.stage(
    { version: "1" },
    { counted: false, reference: { transport: "oci", name, signature: undefined } },
  );
  // the deployment's own tag is to be the only one
  machine.with((_host, repository) => untagImage(repository, "x"));
  machine.boot();
  return machine;
}
