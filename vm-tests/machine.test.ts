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

/** A new machine, and the registry that it is told of. */
async function newMachine(context: TestContext, name: string) {
  if (process.geteuid?.() !== 0) context.skip("not root: the owners in /etc cannot be made");
  const installed = await machineDisk();
  mkdirSync(CACHE, { recursive: true });
  const scratch = mkdtempSync(join(CACHE, "test-"));
  const registry = await RegistryServer.start();
  context.onTestFinished(async () => {
    await registry.close();
    rmSync(scratch, { recursive: true, force: true });
  });
  const [disk, variables] = [join(scratch, "disk"), join(scratch, "variables")];
  execFileSync("cp", ["--sparse=always", installed.disk, disk]);
  newVariables(variables);
  const base = new Base(installed.layout, installed.tag);
  const port = registry.host.split(":")[1];
  const location = `[[registry]]\nprefix = "${REPOSITORY}"\nlocation = "10.0.2.2:${port}/os"\ninsecure = true\n`;

  let boots = 0;
  return {
    /** Makes a version what the machine follows. */
    publish: (version: string, files: readonly TarFile[]) => base.publish(registry, version, files),
    requests: registry.requests,
    /** Until it is off. */
    boot: (checks?: Checks) =>
      boot({
        name: `${name}-${++boots}`,
        ...{ disk, variables, persistent: true, network: true, cpus: 2 },
        ...(checks === undefined ? {} : { checks }),
        target: "multi-user",
        powerOff: "clean",
      }),
    /** What an administrator does first. */
    beginning: {
      // before which multi-user.target is not reached
      seal: "journalctl --boot --output=cat --unit=cfsboot-seal.service | grep 'sealed now'",
      configure: [
        "mkdir -p /etc/containers/registries.conf.d",
        `printf '%s' '${location}' > /etc/containers/registries.conf.d/local.conf`,
      ].join(" && "),
    },
  };
}

/** Waits until the boot has been judged, and tells how. */
const JUDGED = `for i in $(seq 120); do systemctl show -P ActiveState cfsboot-boot-complete | grep -qE '^(active|failed)' && break; sleep 1; done; ${ENTRIES}`;
const FAILED =
  "systemctl --failed --plain --no-legend && ! journalctl --boot --quiet --priority=err --unit='cfsboot*' | grep .";

test("a machine updates itself over the network, keeps its changes, and goes back", async (context) => {
  const machine = await newMachine(context, "machine");
  machine.publish("2", [
    release("2"),
    { path: "etc/app.conf", data: "two\n" },
    { path: "etc/new.conf", data: "new\n" },
  ]);
  const first = await machine.boot({
    ...machine.beginning,
    status: STATUS,
    edit: [
      "echo mine > /etc/edited.conf",
      "echo local > /etc/local.conf",
      "echo kept > /var/lib/kept",
    ].join(" && "),
    check: "cfsboot upgrade --check",
    upgrade: "cfsboot upgrade",
    staged: STATUS,
    entries: `${ENTRIES}; cat /boot/loader/entries/*.conf`,
    late: "echo 'after staging' > /etc/local.conf",
    failed: FAILED,
  });
  expectDone(first, "seal", "configure", "edit", "check", "upgrade");
  expect(statusOf(first)).toMatchObject({
    booted: { image: { image: { image: FOLLOWED } } },
    staged: null,
    rollback: null,
  });
  expect(answer(first, "check")).toMatch("To be fetched: 1 of 4 layers");
  expect(statusOf(first, "staged").staged).toMatchObject({ image: { version: "2" } });
  expect(answer(first, "entries")).toMatch(
    /^bootc_debian-13-0\.conf\n[\s\S]* composefs=[0-9a-f]{128}/,
  );
  expect(answer(first, "failed")).toBe("");

  const second = await machine.boot({
    root: "findmnt -no SOURCE,OPTIONS /",
    release: "cat /usr/share/release",
    etc: ETC,
    var: "cat /var/lib/kept",
    status: STATUS,
    judged: JUDGED,
    failed: FAILED,
    rollback: "cfsboot rollback",
  });
  expect(answer(second, "root")).toMatch("verity=require");
  expect(answer(second, "release")).toBe("2");
  expect(answer(second, "etc").split("\n").filter(Boolean)).toEqual([
    ...["==> /etc/app.conf <==", "two", "==> /etc/edited.conf <==", "mine"],
    ...["==> /etc/local.conf <==", "after staging", "==> /etc/new.conf <==", "new"],
  ]);
  expect(answer(second, "var")).toBe("kept");
  expect(statusOf(second)).toMatchObject({
    booted: { image: { version: "2" } },
    staged: null,
    rollback: { image: { image: { image: FOLLOWED } } },
  });
  expect(answer(second, "judged").split("\n")).toEqual([
    "bootc_debian-13-0.conf",
    "bootc_debian-13-1.conf",
  ]);
  expect(answer(second, "failed")).toBe("");
  expectDone(second, "rollback");

  const third = await machine.boot({
    root: "findmnt -no SOURCE,OPTIONS /",
    release: "ls /usr/share/release",
    etc: ETC,
    var: "cat /var/lib/kept",
    status: STATUS,
  });
  expect(answer(third, "root")).toMatch("verity=require");
  expect(answer(third, "release")).toMatch("No such file");
  expect(answer(third, "etc").split("\n").filter(Boolean)).toEqual([
    ...["==> /etc/app.conf <==", "one", "==> /etc/edited.conf <==", "mine"],
    ...["==> /etc/local.conf <==", "after staging"],
  ]);
  expect(answer(third, "var")).toBe("kept");
  expect(statusOf(third)).toMatchObject({ staged: null, rollback: { image: { version: "2" } } });
});

test("an update that panics is left after three tries, and told of", async (context) => {
  if (process.env.CFSBOOT_ALL_TESTS === undefined) context.skip("takes long: npm run test:vm");
  const machine = await newMachine(context, "panic");
  machine.publish("2", [
    release("2"),
    { path: "usr/lib/bootc/" },
    { path: "usr/lib/bootc/kargs.d/" },
    // nothing then finds the root
    { path: "usr/lib/bootc/kargs.d/broken.toml", data: 'kargs = ["rdinit=/no-such-program"]\n' },
  ]);
  const first = await machine.boot({ ...machine.beginning, upgrade: "cfsboot upgrade" });
  expectDone(first, "seal", "configure", "upgrade");
  for (let tries = 0; tries < 3; tries++) {
    expect(plain((await machine.boot()).console)).toMatch("Kernel panic");
  }
  const last = await machine.boot({
    release: "ls /usr/share/release",
    entries: ENTRIES,
    told: "cfsboot status",
    judged: `${JUDGED}; systemctl --failed --plain --no-legend`,
  });
  expect(answer(last, "release")).toMatch("No such file");
  expect(answer(last, "entries").split("\n")).toEqual([
    "bootc_debian-13-0.conf",
    "bootc_debian-13-1+0-3.conf",
  ]);
  expect(answer(last, "told")).toMatch("did not come up, tried 3 times");
  expect(answer(last, "judged")).toMatch("cfsboot-boot-complete.service");
});
