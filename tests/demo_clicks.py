"""Clicks through the page of `focus-jax demo` in headless Chromium: URL BROWSER PHOTO TEXT.

A process of its own: gradio and playwright leave event loops open, of which Python warns.
"""

import sys

from playwright.sync_api import Page, expect, sync_playwright

SOFTWARE = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
PATIENCE = 240_000  # ms, of a fit that compiles


def find(page: Page, url: str, file: str | None) -> None:
    page.goto(url)
    button = page.get_by_role("button", name="Find the face")
    button.wait_for()
    if file is not None:
        page.locator("input[type=file]").first.set_input_files(file)
        expect(
            page.locator("button[aria-label*='Clear'], button[aria-label*='Remove']")
        ).to_have_count(1)
    page.locator("input[type=number]").first.fill("0")  # steps of refinement
    button.click()


def drawn(page: Page) -> str:
    """The address of the face that the sliders change."""
    return page.locator("img[src*='gradio_api/file']").last.get_attribute("src") or ""


def main(url: str, browser: str, photo: str, text: str) -> None:
    with sync_playwright() as play:
        page = play.chromium.launch(executable_path=browser, args=SOFTWARE).new_page()
        for file, said in ((None, "give a photo first"), (text, "no picture")):
            find(page, url, file)
            expect(page.get_by_test_id("toast-body")).to_contain_text(said, timeout=PATIENCE)
        find(page, url, photo)
        expect(page.get_by_text("confidence")).to_be_visible(timeout=PATIENCE)
        pictures = page.locator("img[src*='gradio_api/file']")  # photo, overlay, mask, face
        expect(pictures).to_have_count(4)
        assert all(p.evaluate("i => i.decode().then(() => i.naturalWidth)") for p in pictures.all())
        assert not page.locator("button[aria-label*='hare']").count()  # none that publishes it
        identity = page.locator("input[type=range]").nth(1)
        number = page.locator("input[type=number]").nth(1)
        reset = page.locator("button[aria-label*='Reset']").nth(1)
        for move in (
            lambda: identity.press("ArrowLeft"),
            lambda: (number.fill("2"), number.press("Enter")),
            reset.click,
        ):
            before = drawn(page)
            move()
            expect(pictures.last).not_to_have_attribute("src", before)
        assert identity.input_value() == "1"
        solid = page.locator("canvas").first
        solid.scroll_into_view_if_needed()
        page.wait_for_timeout(3000)  # it is loaded, and stands still
        place, still = solid.bounding_box(), solid.screenshot()
        assert place is not None
        page.mouse.move(place["x"] + place["width"] / 2, place["y"] + place["height"] / 2)
        page.mouse.down()
        page.mouse.move(place["x"] + place["width"] / 2 + 60, place["y"] + place["height"] / 2)
        page.mouse.up()
        page.wait_for_timeout(1000)
        assert solid.screenshot() != still
        with page.expect_download() as download:
            page.get_by_text("KB").first.click()
        with open(download.value.path(), "rb") as file:
            assert file.read(4) == b"glTF"
    print("clicked through")


if __name__ == "__main__":
    main(*sys.argv[1:])
