/** Machines that are installed, and follow an image in a registry of their own. */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import {
  blob,
  compress,
  descriptor,
  json,
  type TarFile,
  tar,
} from "../../test/oci/fixtures/images.ts";
import { digestOf, RegistryServer } from "../../test/oci/fixtures/registry-server.ts";
import { CACHE } from "./cache.ts";
import type { Checks } from "./guest.ts";
import { FOLLOWED, machineDisk } from "./install.ts";
import { boot, newVariables } from "./qemu.ts";

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

/** A new machine, and the registry that it is told of. */
export async function newMachine(name: string) {
  const installed = await machineDisk();
  mkdirSync(CACHE, { recursive: true });
  const scratch = mkdtempSync(join(CACHE, "test-"));
  const registry = await RegistryServer.start();
  const [disk, variables] = [join(scratch, "disk"), join(scratch, "variables")];
  execFileSync("cp", ["--sparse=always", installed.disk, disk]);
  newVariables(variables);
  const base = new Base(installed.layout, installed.tag);
  const port = registry.host.split(":")[1];
  const location = `[[registry]]\nprefix = "${REPOSITORY}"\nlocation = "10.0.2.2:${port}/os"\ninsecure = true\n`;

  let boots = 0;
  return {
    async [Symbol.asyncDispose]() {
      await registry.close();
      rmSync(scratch, { recursive: true, force: true });
    },
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
