/**
 * Makes one kind of filesystem images of every tagged image, as one of several processes that do so at once:
 * `node commit-process.ts REPOSITORY VARIANT BEGIN`, where BEGIN is the time to begin at, in milliseconds.
 */
import { commitImages, type TreeOptions } from "../../userspace/oci/commit.ts";
import { listTags, openImage } from "../../userspace/oci/image.ts";
import { openRepository } from "../../userspace/repository/repository.ts";

export const VARIANTS: Readonly<Record<string, TreeOptions>> = {
  plain: {},
  bootable: { bootable: true },
  "with xattrs": { bootable: true, xattrs: "keep-user-xattrs" },
};

const [path, variant, begin] = process.argv.slice(2);
if (path !== undefined) {
  using repository = openRepository(path);
  const tags = listTags(repository);
  while (Date.now() < Number(begin));
  for (const { tag } of tags) {
    commitImages(repository, openImage(repository, tag), VARIANTS[variant!]);
  }
}
