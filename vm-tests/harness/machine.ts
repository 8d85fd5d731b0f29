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
import { cpioArchive } from "./cpio.ts";
import type { Checks } from "./guest.ts";
import { FOLLOWED, type Installation, machineDisk } from "./install.ts";
import { boot, type Hardware, newVariables } from "./qemu.ts";
import type { Say } from "./systems.ts";

const MANIFEST = "application/vnd.oci.image.manifest.v1+json";
const TAG = FOLLOWED.slice(FOLLOWED.indexOf(":") + 1);
const HOST = FOLLOWED.slice(0, FOLLOWED.indexOf("/"));

interface Document {
  readonly manifests: { readonly digest: string; readonly annotations?: Record<string, string> }[];
}
interface Manifest {
  readonly config: { readonly digest: string; readonly mediaType: string };
  readonly layers: { readonly digest: string }[];
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

  #blob(digest: string): string {
    return join(this.#layout, "blobs/sha256", digest.slice("sha256:".length));
  }

  #read<T>(digest: string): T {
    return JSON.parse(readFileSync(this.#blob(digest), "utf8"));
  }

  /** The file of the image whose path is this. */
  file(path: RegExp): { readonly path: string; readonly data: Buffer } {
    for (const { digest } of this.manifest.layers.toReversed()) {
      const layer = this.#blob(digest);
      const run = (...options: string[]) =>
        execFileSync("tar", [...options, "-f", layer], { maxBuffer: 1 << 28 });
      const names = run("-t").toString().split("\n");
      const name = names.find((one) => path.test(one));
      if (name !== undefined) return { path: name.replace(/^\.\//, ""), data: run("-xO", name) };
    }
    throw new Error(`the image has no ${path}`);
  }

  /** The initramfs, with more files in it. */
  initramfsWith(files: Readonly<Record<string, string | Uint8Array>>): TarFile {
    const { path, data } = this.file(/usr\/lib\/modules\/[^/]+\/initramfs\.img$/);
    // as microcode is: what cfsboot reads is not what comes after a compressed archive
    return { path, data: Buffer.concat([cpioArchive(files), data]) };
  }

  /** Publishes it with these files. Of its layers the registry has only this one. */
  publish(registry: RegistryServer, version: string, files: readonly TarFile[], tag = TAG): void {
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
      tag,
    );
  }
}

/** Where a running machine sees what its boot loader reads. */
const BOOT = {
  systemd: { entries: "/boot/loader/entries", kernels: "/boot/EFI/Linux" },
  grub: { entries: "/sysroot/boot/loader/entries", kernels: "/sysroot/boot" },
} as const;

/** A new machine, and the registry that it is told of. */
export async function newMachine(
  name: string,
  installation: Installation = { loader: "systemd" },
  say?: Say,
) {
  const installed = await machineDisk(installation, say);
  mkdirSync(CACHE, { recursive: true });
  const scratch = mkdtempSync(join(CACHE, "test-"));
  const registry = await RegistryServer.start();
  const [disk, variables] = [join(scratch, "disk"), join(scratch, "variables")];
  execFileSync("cp", ["--sparse=always", installed.disk, disk]);
  newVariables(variables);
  const base = new Base(installed.layout, installed.tag);
  const port = registry.host.split(":")[1];
  const location = `[[registry]]\nprefix = "${HOST}"\nlocation = "10.0.2.2:${port}"\ninsecure = true\n`;

  const hardware = { name, disk, variables, persistent: true, network: true, cpus: 2 } as const;
  let boots = 0;
  return {
    async [Symbol.asyncDispose]() {
      await registry.close();
      rmSync(scratch, { recursive: true, force: true });
    },
    ...BOOT[installation.loader],
    /** A directory that goes with the machine. */
    scratch,
    /** Makes a version what the machine follows, or what this tag of any image of the registry is. */
    publish: (version: string, files: readonly TarFile[], tag?: string) =>
      base.publish(registry, version, files, tag),
    /** A file of the image that was installed. */
    file: (path: RegExp) => base.file(path).data,
    /** To be published: with it the kernel is another one. */
    initramfsWith: (files: Readonly<Record<string, string | Uint8Array>>) =>
      base.initramfsWith(files),
    requests: registry.requests,
    hardware,
    /** Until it is off. */
    boot: (
      checks?: Checks,
      onConsole?: (line: string) => void,
      changed: Pick<Hardware, "moreDisks"> = {},
    ) =>
      boot({
        ...{ ...hardware, ...changed },
        name: `${name}-${++boots}`,
        ...(checks === undefined ? {} : { checks }),
        ...(onConsole === undefined ? {} : { onConsole }),
        target: "multi-user",
        powerOff: "clean",
      }),
    /** What an administrator does first. */
    beginning: {
      // it goes on when multi-user.target is reached
      seal: "while systemctl is-active --quiet cfsboot-seal; do sleep 1; done; journalctl --boot --output=cat --unit=cfsboot-seal.service | grep 'sealed now'",
      configure: [
        "mkdir -p /etc/containers/registries.conf.d",
        `printf '%s' '${location}' > /etc/containers/registries.conf.d/local.conf`,
      ].join(" && "),
    },
  };
}
