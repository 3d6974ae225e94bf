"""The part of the fake chatglm.cn that keeps files and makes videos."""

from collections.abc import Callable, Mapping
from typing import Any

from tests.simulators import chatglm_checks as checks
from tests.simulators.answers import Answer, Send
from tests.simulators.base import Call
from tests.simulators.chatglm_core import FILES, GlmCore, ok, ownership_problems
from tests.simulators.chatglm_state import FILM, Account, Upload, VideoJob, object_id, picture, picture_size

VIDEO_WIDTH, VIDEO_HEIGHT = 1440, 960
VIDEO_MESSAGES = {"init": "排队中", "processing": "生成中"}
NOT_FOUND = {"message": "not found", "result": None, "status": 404}

FILES_BY_SUFFIX: dict[str, tuple[str, Callable[[], bytes]]] = {
    "png": ("image/png", picture),
    "mp4": ("video/mp4", lambda: FILM),
}


class GlmMedia(GlmCore):
    """Uploads, the file host, and video jobs."""

    def on_upload(self, call: Call) -> Answer:
        """Keep a file or picture of a message."""
        account, file = self._uploaded(call)
        self.interrupt(call)
        identity = object_id()
        suffix = file.name.rpartition(".")[2]
        result: dict[str, Any] = {
            "file_id": identity,
            "file_name": file.name,
            "file_size": len(file.data),
            "file_url": f"https://{FILES}/file/{identity}.{suffix}",
            "max_read_percentage": 100,
            "status": "success",
        }
        size = picture_size(file.data)
        if size is not None:
            result |= {"width": size[0], "height": size[1]}
        self.uploads[identity] = Upload(account, file.content_type, file.data, result)
        return ok(result)

    def on_video_upload(self, call: Call) -> Answer:
        """Keep the first picture of a video, which has to have the size of the video."""
        account, file = self._uploaded(call)
        width, height = picture_size(file.data) or (0, 0)
        self._require(
            call, [] if width == VIDEO_WIDTH and 0 < height <= VIDEO_HEIGHT else [f"picture is {width}×{height}"]
        )
        self.interrupt(call)
        identity = object_id()
        result = {"source_id": identity}
        self.uploads[identity] = Upload(account, file.content_type, file.data, result)
        return ok(result)

    def on_video_chat(self, call: Call) -> Answer:
        """Take the order of a video."""
        body, account = self._json(call), self._entitled(call)
        self._require(call, checks.video_problems(body))
        sources = (self.uploads.get(source) for source in body.get("source_list", ()))
        self._require(call, [text for found in sources for text in ownership_problems(found, account, "source")])
        self.interrupt(call)
        job = VideoJob(
            object_id(),
            body["conversation_id"] or object_id(),
            account,
            body,
            self.video_statuses,
            self.video_failure,
        )
        self.video_jobs[job.id] = job
        return ok({"chat_id": job.id, "conversation_id": job.conversation_id})

    def on_video_status(self, call: Call) -> Answer:
        """Tell how far a video is."""
        job = self._job(call, self._entitled(call), call.params["id"])
        self.interrupt(call)
        return ok(_progress(job, job.poll()))

    def on_video_compose(self, call: Call) -> Answer:
        """Put a sound under a video."""
        body, account = self._json(call), self._entitled(call)
        self._require(call, checks.field_problems("body", body, ("chat_id", "key", "audio_id")))
        job = self._job(call, account, body["chat_id"])
        self.interrupt(call)
        return ok({"url": f"https://{FILES}/testpath/video/{job.id}_{body['audio_id']}.mp4"})

    def on_video_delete(self, call: Call) -> Answer:
        """Delete a video job, which can be done once."""
        job = self._job(call, self._entitled(call), call.params["id"])
        self.interrupt(call)
        job.deleted = True
        return ok({})

    def on_file(self, call: Call) -> Answer:
        """Serve an uploaded, drawn or filmed file."""
        self._require(call, checks.foreign_headers(call.headers))
        self.interrupt(call)
        name = call.path.rpartition("/")[2]
        upload = self.uploads.get(name.partition(".")[0])
        if upload is not None:
            return Answer(200, upload.content_type, steps=(Send(upload.data),))
        served = FILES_BY_SUFFIX.get(name.rpartition(".")[2])
        if served is None:
            return Answer.json(NOT_FOUND, 404)
        content_type, data = served
        return Answer(200, content_type, steps=(Send(data()),))

    def _job(self, call: Call, account: Account, identity: object) -> VideoJob:
        """Give a job of the account that was not deleted."""
        job = self.video_jobs.get(str(identity))
        problems = ownership_problems(job, account, "video")
        problems += ["the video is deleted"] * (job is not None and job.deleted)
        self._require(call, problems)
        return self.video_jobs[str(identity)]


def _progress(job: VideoJob, status: str) -> Mapping[str, Any]:
    done = status == "finished"
    base = f"https://{FILES}/testpath/video"
    return {
        "status": status,
        "msg": (job.failure or "") if status == "fail" else VIDEO_MESSAGES.get(status, ""),
        "plan": "",
        "cover_url": f"{base}_cover/{job.id}_cover_0.png" if done else "",
        "video_url": f"{base}/{job.id}_0.mp4" if done else "",
        "video_duration": "6s" if done else "",
        "resolution": f"{VIDEO_WIDTH} × {VIDEO_HEIGHT}" if done else "",
    }
