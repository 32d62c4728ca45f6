// Every image of a folder -> an OME-Zarr store that was verified and validated.
//
//     nextflow run main.nf --input /data/run7 --output /data/run7_zarr
//
// Stores are written where they stay, not in the work folder: each attempt has a work folder of its own, and only
// beside the final name does it find NAME.ome.zarr.partial, which the attempt before left. For the same reason,
// and because the other files of a set are looked for beside the first one, images are named, not staged.
nextflow.enable.dsl = 2

params.input = 'images'
params.output = 'stores'
params.sample = '5%'

process CONVERT {
    tag "${name}"
    publishDir params.output, mode: 'copy', pattern: '*.json'

    input:
    tuple val(name), val(image), val(store)

    output:
    tuple val(name), val(image), val(store), emit: stores
    path "${name}.report.json", emit: reports

    script:
    // Python and its libraries take 200 MB besides what --memory allows.
    def budget = task.memory.toMega() - 200
    """
    ngff-convert convert '${image}' '${store}' --overwrite --verify sample \\
        --memory ${budget}MiB --workers ${task.cpus} \\
        --log-format json --report '${name}.report.json'
    """
}

process CHECK {
    tag "${name}"
    publishDir params.output, mode: 'copy'

    input:
    tuple val(name), val(image), val(store)

    output:
    path "${name}.*.json"

    script:
    """
    ngff-convert validate '${store}' --json > '${name}.validated.json'
    ngff-convert verify '${image}' '${store}' --sample ${params.sample} --json > '${name}.verified.json'
    """
}

workflow {
    def output = file(params.output).toAbsolutePath()
    def images = channel
        .fromPath("${params.input}/*.{ims,tif,tiff}")
        .map { image ->
            def name = image.baseName.replaceFirst('[.]ome$', '')
            tuple(name, image.toAbsolutePath(), output.resolve("${name}.ome.zarr"))
        }
    CONVERT(images)
    CHECK(CONVERT.out.stores)
}
