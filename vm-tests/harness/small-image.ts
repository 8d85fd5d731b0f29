/** An image that boots far enough to be looked at, and no farther: what is installed under emulation had better be small. */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { CACHE, cached, hashOf } from "./cache.ts";
import { baseTar, type Extra, ociImage, type Say, type Suite } from "./systems.ts";

const TAG = "small";

/** What a boot to basic.target does without; all modules that it takes are in the initramfs. */
const LEFT_OUT = [
  ...["/usr/lib/modules/*/kernel/*", "/usr/lib/udev/hwdb*", "/usr/lib/dracut/*", "/usr/lib/apt/*"],
  ...[
    "/usr/lib/python3*",
    "/usr/bin/python3*",
    "/usr/bin/perl*",
    "/usr/share/*/*",
    "/var/lib/dpkg/*",
  ],
  ...["libicu*", "perl*", "gconv/*", "libapt*", "libdb-*", "libp11*", "libsqlite*", "libgio*"].map(
    (name) => `/usr/lib/x86_64-linux-gnu/${name}`,
  ),
];
/** Of those. */
const KEPT = ["/usr/share/dbus-1/*"];

/** The image, as a disk with an OCI layout in it, and the tag there. */
export async function smallImageDisk(
  suite: Suite,
  extra: Extra,
  say: Say = () => {},
): Promise<{ disk: string; tag: string }> {
  const base = await baseTar(suite, say, extra);
  const { layout, tag } = await ociImage(suite, say, extra);
  const key = hashOf(layout, ...LEFT_OUT, "kept", ...KEPT);
  const disk = await cached(`layout-${extra.name}`, key, (path) => {
    say("small image, on a disk");
    mkdirSync(CACHE, { recursive: true });
    const work = mkdtempSync(join(CACHE, "files-"));
    try {
      const [small, top, made] = ["base.tar", "top.tar", "layout"].map((name) => join(work, name));
      const filter = [
        ...LEFT_OUT.map((pattern) => `--path-exclude=${pattern}`),
        ...KEPT.map((pattern) => `--path-include=${pattern}`),
      ];
      execFileSync("mmtarfilter", filter, { stdio: [openSync(base, "r"), openSync(small!, "w")] });
      execFileSync("gzip", ["-dc", topLayer(layout, tag)], {
        stdio: ["ignore", openSync(top!, "w"), "inherit"],
      });
      const image = `${made}:${TAG}`;
      const umoci = (...args: string[]) => execFileSync("umoci", args);
      umoci("init", "--layout", made!);
      umoci("new", "--image", image);
      for (const layer of [small!, top!]) umoci("raw", "add-layer", "--image", image, layer);
      umoci("gc", "--layout", made!);
      execFileSync("truncate", ["--size=512M", path]);
      execFileSync("mke2fs", ["-q", "-F", "-t", "ext4", "-d", made!, path]);
    } finally {
      rmSync(work, { recursive: true, force: true });
    }
  });
  return { disk, tag: TAG };
}

/** The blob of an image's last layer. */
function topLayer(layout: string, tag: string): string {
  const json = (path: string) => JSON.parse(readFileSync(join(layout, path), "utf8"));
  const blob = (digest: string) => `blobs/sha256/${digest.replace("sha256:", "")}`;
  const name = "org.opencontainers.image.ref.name";
  const index = json("index.json") as {
    manifests: { digest: string; annotations?: Record<string, string> }[];
  };
  const { digest } = index.manifests.find(({ annotations }) => annotations?.[name] === tag)!;
  const manifest = json(blob(digest)) as { layers: { digest: string }[] };
  return join(layout, blob(manifest.layers.at(-1)!.digest));
}
