// What a page can tell about a file that it plays; evaluated into an empty page of the server's.

const heard = (target, event) =>
  new Promise((done, fail) => {
    target.addEventListener(event, done, { once: true });
    target.addEventListener("error", () => fail(target.error?.message ?? "error"), { once: true });
  });

const canvasOf = (width, height) =>
  new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });

// The colour in the middle of a picture: [red, green, blue], 0 to 255.
const colourOf = (picture, width, height) => {
  const canvas = canvasOf(width, height);
  canvas.drawImage(picture, 0, 0);
  return [...canvas.getImageData(width / 2, height / 2, 1, 1).data.slice(0, 3)];
};

globalThis.player = {
  // A <video> that has read no more than it needs to tell its length.
  async open(url) {
    const video = document.createElement("video");
    video.preload = "metadata";
    video.src = url;
    document.body.replaceChildren(video);
    await heard(video, "loadedmetadata");
    this.video = video;
    const { duration, videoWidth, videoHeight } = video;
    return { duration, size: [videoWidth, videoHeight] };
  },

  // Play until `seconds` were shown; how many frames and bytes of sound were decoded for it.
  async play(seconds) {
    const { video } = this;
    await video.play();
    while (video.currentTime < seconds) await heard(video, "timeupdate");
    video.pause();
    return { frames: video.webkitDecodedFrameCount, sound: video.webkitAudioDecodedByteCount };
  },

  // The colour that is shown at a time: the expected one, if it comes to be shown within seconds.
  // A busy machine draws a frame some time after it says that it was found.
  async at(seconds, expected, near) {
    const { video } = this;
    const arrived = heard(video, "seeked");
    video.currentTime = seconds;
    await arrived;
    const until = performance.now() + 10_000;
    for (;;) {
      const colour = colourOf(video, video.videoWidth, video.videoHeight);
      const same = colour.every((value, place) => Math.abs(value - expected[place]) <= near);
      if (same || performance.now() > until) return colour;
      await new Promise((done) => setTimeout(done, 20));
    }
  },

  // The first channel of a file's sound, from where each click begins: samples at `rate`.
  async clicks(url, rate) {
    const data = await (await fetch(url)).arrayBuffer();
    const sound = await new OfflineAudioContext(1, 1, rate).decodeAudioData(data);
    const wave = sound.getChannelData(0);
    const found = [];
    for (let at = 0; at < wave.length; at++)
      if (Math.abs(wave[at]) > 0.25 && !(at - found.at(-1) < rate / 100)) found.push(at);
    return { found, length: wave.length };
  },

  // Each frame of an animated picture: its time and length in seconds, and its colour.
  async frames(url, type) {
    const data = await (await fetch(url)).arrayBuffer();
    const decoder = new ImageDecoder({ data, type });
    await decoder.tracks.ready;
    await decoder.completed;
    const track = decoder.tracks.selectedTrack;
    const frames = [];
    for (let frameIndex = 0; frameIndex < track.frameCount; frameIndex++) {
      const { image } = await decoder.decode({ frameIndex });
      const colour = colourOf(image, image.displayWidth, image.displayHeight);
      frames.push({ starts: image.timestamp / 1e6, lasts: image.duration / 1e6, colour });
      image.close();
    }
    return { frames, endless: track.repetitionCount === Infinity };
  },

  // An <img> of it: its size once it is drawn.
  async show(url) {
    const image = new Image();
    image.src = url;
    document.body.replaceChildren(image);
    await image.decode();
    return [image.naturalWidth, image.naturalHeight];
  },
};
