/** The life of a machine that boots by UEFI and systemd-boot, and updates itself over the network. */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { expect, type TestContext, test } from "vitest";
import {
  blob,
  compress,
  descriptor,
  json,
  type TarFile,
  tar,
} from "../test/oci/fixtures/images.ts";
import { digestOf, RegistryServer } from "../test/oci/fixtures/registry-server.ts";
import { CACHE } from "./harness/cache.ts";
import type { Checks } from "./harness/guest.ts";
import { FOLLOWED, machineDisk } from "./harness/install.ts";
import { answer } from "./harness/observations.ts";
import { type Booted, boot, newVariables, plain } from "./harness/qemu.ts";

const MANIFEST = "application/vnd.oci.image.manifest.v1+json";
const [REPOSITORY, TAG] = FOLLOWED.split(":") as [string, string];

interface Document {
  readonly manifests: { readonly digest: string; readonly annotations?: Record<string, string> }[];
}
interface Manifest {
  readonly config: { readonly digest: string; readonly mediaType: string };
  readonly layers: object[];
}
interface Config {
  readonly rootfs: { readonly diff_ids: string[] };
  readonly config?: { readonly Labels?: Record<string, string> };
}

/** An image in a layout, to be put into a registry with more on top of it. */
class Base {
  readonly #layout: string;
  readonly manifest: Manifest;
  readonly config: Config;

  constructor(layout: string, tag: string) {
    this.#layout = layout;
    const { manifests } = JSON.parse(readFileSync(join(layout, "index.json"), "utf8")) as Document;
    const name = "org.opencontainers.image.ref.name";
    const digest = manifests.find(({ annotations }) => annotations?.[name] === tag)!.digest;
    this.manifest = this.#read(digest);
    this.config = this.#read(this.manifest.config.digest);
  }

  #read<T>(digest: string): T {
    return JSON.parse(
      readFileSync(join(this.#layout, "blobs/sha256", digest.slice("sha256:".length)), "utf8"),
    );
  }

  /** Publishes it with these files. Of its layers the registry has only this one. */
  publish(registry: RegistryServer, version: string, files: readonly TarFile[]): void {
    const layer = tar(files);
    const top = blob("application/vnd.oci.image.layer.v1.tar+gzip", compress(layer, "gzip"));
    const { rootfs, config } = this.config;
    const document = json(this.manifest.config.mediaType, {
      ...this.config,
      config: {
        ...config,
        Labels: { ...config?.Labels, "org.opencontainers.image.version": version },
      },
      rootfs: { ...rootfs, diff_ids: [...rootfs.diff_ids, digestOf(layer)] },
      history: undefined,
    });
    registry.blobs.set(top.digest, top.bytes);
    registry.blobs.set(document.digest, document.bytes);
    registry.addManifest(
      {
        ...this.manifest,
        config: descriptor(document),
        layers: [...this.manifest.layers, descriptor(top)],
      },
      MANIFEST,
      TAG,
    );
  }
}

const release = (number: string): TarFile => ({ path: "usr/share/release", data: `${number}\n` });

const ENTRIES = "ls /boot/loader/entries";
const STATUS = "cfsboot status --json";
const ETC = "head -n1 /etc/app.conf /etc/edited.conf /etc/local.conf /etc/new.conf 2>/dev/null";

interface Status {
  readonly status: Record<
    "booted" | "staged" | "rollback",
    {
      readonly image: { readonly image: { readonly image: string }; readonly version?: string };
    } | null
  >;
}

function statusOf(booted: Booted, name = "status"): Status["status"] {
  const { status, output } = booted.answers[name]!;
  expect(status, output).toBe(0);
  return (JSON.parse(output) as Status).status;
}

function expectDone(booted: Booted, ...names: string[]): void {
  for (const name of names) {
    const { status, output } = booted.answers[name]!;
    expect(status, `${name}: ${output}`).toBe(0);
  }
}

test("a machine updates itself, keeps its changes, goes back, and leaves an update that panics", async (context: TestContext) => {
  if (process.geteuid?.() !== 0) context.skip("not root: the disk cannot be made");
  const installed = await machineDisk();
  mkdirSync(CACHE, { recursive: true });
  const scratch = mkdtempSync(join(CACHE, "test-"));
  const registry = await RegistryServer.start();
  context.onTestFinished(async () => {
    await registry.close();
    rmSync(scratch, { recursive: true, force: true });
  });
  const disk = join(scratch, "disk");
  execFileSync("cp", ["--sparse=always", installed.disk, disk]);
  const variables = join(scratch, "variables");
  newVariables(variables);
  const base = new Base(installed.layout, installed.tag);
  const port = registry.host.split(":")[1];

  let boots = 0;
  const start = (checks?: Checks) =>
    boot({
      name: `machine-${++boots}`,
      ...{ disk, variables, persistent: true, network: true, cpus: 2 },
      ...(checks === undefined ? {} : { checks }),
      target: "multi-user",
      powerOff: "clean",
    });

  base.publish(registry, "2", [
    release("2"),
    { path: "etc/app.conf", data: "two\n" },
    { path: "etc/new.conf", data: "new\n" },
  ]);
  const location = `[[registry]]\nprefix = "${REPOSITORY}"\nlocation = "10.0.2.2:${port}/os"\ninsecure = true\n`;
  const first = await start({
    verified: "findmnt -no OPTIONS /",
    status: STATUS,
    edit: [
      "mkdir -p /etc/containers/registries.conf.d",
      `printf '%s' '${location}' > /etc/containers/registries.conf.d/local.conf`,
      "echo mine > /etc/edited.conf",
      "echo local > /etc/local.conf",
      "echo kept > /var/lib/kept",
    ].join(" && "),
    check: "cfsboot upgrade --check",
    upgrade: "cfsboot upgrade",
    staged: STATUS,
    entries: ENTRIES,
    late: "echo 'after staging' > /etc/local.conf",
  });
  expect(answer(first, "verified")).toMatch("verity=require");
  expect(statusOf(first)).toMatchObject({
    booted: { image: { image: { image: FOLLOWED } } },
    staged: null,
    rollback: null,
  });
  expectDone(first, "edit", "check", "upgrade");
  expect(answer(first, "check")).toMatch("To be fetched: 1 of 4 layers");
  expect(statusOf(first, "staged").staged).toMatchObject({ image: { version: "2" } });
  expect(answer(first, "entries")).toBe("bootc_debian-13-0.conf");

  const second = await start({
    release: "cat /usr/share/release",
    etc: ETC,
    var: "cat /var/lib/kept",
    status: STATUS,
    blessed: `for i in $(seq 60); do systemctl is-active -q systemd-bless-boot && break; sleep 1; done; ${ENTRIES}`,
    failed: "systemctl --failed --plain --no-legend",
    rollback: "cfsboot rollback",
    entries: ENTRIES,
  });
  expect(answer(second, "release")).toBe("2");
  expect(
    answer(second, "etc")
      .split(/\s*\n\s*/)
      .join("\n"),
  ).toBe(
    [
      ...["==> /etc/app.conf <==", "two", "", "==> /etc/edited.conf <==", "mine", ""],
      ...["==> /etc/local.conf <==", "after staging", "", "==> /etc/new.conf <==", "new"],
    ]
      .filter(Boolean)
      .join("\n"),
  );
  expect(answer(second, "var")).toBe("kept");
  expect(statusOf(second)).toMatchObject({
    booted: { image: { version: "2" } },
    staged: null,
    rollback: { image: { image: { image: FOLLOWED } } },
  });
  expect(answer(second, "blessed").split("\n")).toEqual([
    "bootc_debian-13-0.conf",
    "bootc_debian-13-1.conf",
  ]);
  expect(answer(second, "failed")).toBe("");
  expectDone(second, "rollback");

  // which cannot even find its root
  base.publish(registry, "3", [
    release("3"),
    { path: "usr/lib/bootc/" },
    { path: "usr/lib/bootc/kargs.d/" },
    { path: "usr/lib/bootc/kargs.d/broken.toml", data: 'kargs = ["rdinit=/no-such-program"]\n' },
  ]);
  const third = await start({
    release: "ls /usr/share/release",
    etc: ETC,
    status: STATUS,
    upgrade: "cfsboot upgrade",
  });
  expect(answer(third, "release")).toMatch("No such file");
  expect(answer(third, "etc")).toMatch("one");
  expect(statusOf(third)).toMatchObject({ rollback: { image: { version: "2" } } });
  expectDone(third, "upgrade");

  for (let tries = 0; tries < 3; tries++) {
    expect(plain((await start()).console)).toMatch("Kernel panic");
  }
  const last = await start({
    release: "ls /usr/share/release",
    entries: ENTRIES,
    told: "cfsboot status",
  });
  expect(answer(last, "release")).toMatch("No such file");
  expect(answer(last, "entries").split("\n")).toEqual([
    "bootc_debian-13-0.conf",
    "bootc_debian-13-1+0-3.conf",
  ]);
  expect(answer(last, "told")).toMatch("did not come up");
});
